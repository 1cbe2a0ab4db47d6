"use strict";
// Comfort only: every page works without this file.

document.documentElement.classList.add("script");

const number = document.getElementById("cardNumber");
const expiry = document.getElementById("cardExpiry");

const onlyDigits = (text) => text.replace(/\D/g, "");

// Formats while typing at the end of a field; editing in the middle is left alone.
const format = (input, write) => {
  if (input.selectionStart === input.value.length) {
    input.value = write(onlyDigits(input.value), input.value);
  }
};

if (number) {
  number.addEventListener("input", () => format(number, (digits) => digits.slice(0, 19).replace(/(.{4})(?=.)/g, "$1 ")));
}
if (expiry) {
  expiry.addEventListener("input", (event) => {
    if (event.inputType && event.inputType.startsWith("delete")) return;
    format(expiry, (digits, text) => {
      if (digits.length === 1 && digits > "1") return `0${digits} / `;
      if (digits.length < 2 || (digits.length === 2 && text.length > 2)) return text;
      return `${digits.slice(0, 2)} / ${digits.slice(2, 4)}`;
    });
  });
}

for (const button of document.querySelectorAll("[data-card]")) {
  button.addEventListener("click", () => {
    number.value = button.dataset.card;
    expiry.value = `12 / ${String((new Date().getFullYear() + 3) % 100).padStart(2, "0")}`;
    document.getElementById("cardCvc").value = "123";
    const name = document.getElementById("billingName");
    if (!name.value) name.value = "Test Customer";
    const fields = [...document.querySelectorAll("form[data-once] [required]")];
    (fields.find((field) => !field.value) ?? document.getElementById("pay")).focus();
  });
}

// A second click must not submit again; coming back with the browser's Back button must be able to.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    event.submitter?.classList.add("busy");
    event.submitter?.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => delete form.dataset.sent);
}

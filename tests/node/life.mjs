// One life of a subscription through stripe-node; prints what happened, one JSON object in all.
// tests/sandbox/sdk_life.py is the same life through stripe-python.
import Stripe from "stripe";

const base = new URL(process.env.SANDBOX_URL);
const stripe = new Stripe(process.env.STRIPE_SECRET_KEY, {
  host: base.hostname,
  port: base.port,
  protocol: "http",
  maxNetworkRetries: 0,
  telemetry: false,
});
const CARD = {
  email: "dana@example.com",
  cardNumber: "4242 4242 4242 4242",
  cardExpiry: "12 / 34",
  cardCvc: "123",
  billingName: "Dana Example",
  billingCountry: "DE",
  billingAddressLine1: "Hauptstr. 1",
  billingLocality: "Berlin",
  billingPostalCode: "10115",
};
const HOUR = 3600;
const steps = [];

async function note(step, subscriptionId) {
  const subscription = await stripe.subscriptions.retrieve(subscriptionId, { expand: ["latest_invoice"] });
  const invoice = subscription.latest_invoice;
  steps.push({
    step,
    status: subscription.status,
    price: subscription.items.data[0].price.unit_amount,
    reason: invoice.billing_reason,
    invoice: invoice.status,
    total: invoice.total,
    paid: invoice.amount_paid,
    lines: invoice.lines.data.map((line) => line.amount),
  });
  return subscription;
}

async function advance(clock, seconds) {
  await stripe.testHelpers.testClocks.advance(clock, { frozen_time: seconds });
  for (let tries = 0; tries < 600; tries += 1) {
    const current = await stripe.testHelpers.testClocks.retrieve(clock);
    if (current.status === "ready") return;
    if (current.status !== "advancing") throw new Error(`the clock is ${current.status}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the clock never became ready");
}

async function useCard(customer, name) {
  const method = await stripe.paymentMethods.attach(name, { customer });
  await stripe.customers.update(customer, { invoice_settings: { default_payment_method: method.id } });
  return method.id;
}

const clock = await stripe.testHelpers.testClocks.create({ frozen_time: Date.UTC(2026, 3, 1) / 1000, name: "life" });
const product = await stripe.products.create({ name: "Maker" });
const recurring = { interval: "month" };
const maker = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 1000, recurring });
const pro = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 2500, recurring });
const customer = await stripe.customers.create({ email: "dana@example.com", test_clock: clock.id });
const session = await stripe.checkout.sessions.create({
  mode: "subscription",
  customer: customer.id,
  line_items: [{ price: maker.id, quantity: 1 }],
  success_url: "https://shop.example/done?session_id={CHECKOUT_SESSION_ID}",
});
const page = await fetch(session.url, { method: "POST", body: new URLSearchParams(CARD), redirect: "manual" });
if (page.status !== 303) throw new Error(`checkout answered ${page.status}`);
const bought = await stripe.checkout.sessions.retrieve(session.id);
let subscription = await note("bought", bought.subscription);

for (let period = 1; period <= 3; period += 1) {
  await advance(clock.id, subscription.items.data[0].current_period_end + 2 * HOUR);
  subscription = await note(`renewed ${period}`, subscription.id);
}

await stripe.subscriptions.update(subscription.id, { default_payment_method: await useCard(customer.id, "pm_card_chargeCustomerFail") });
await advance(clock.id, subscription.items.data[0].current_period_end + 2 * HOUR);
subscription = await note("failed", subscription.id);

await stripe.subscriptions.update(subscription.id, { default_payment_method: await useCard(customer.id, "pm_card_visa") });
await stripe.invoices.pay(subscription.latest_invoice.id);
subscription = await note("recovered", subscription.id);

const item = subscription.items.data[0];
await advance(clock.id, item.current_period_start + (item.current_period_end - item.current_period_start) / 2);
await stripe.subscriptions.update(subscription.id, {
  items: [{ id: item.id, price: pro.id }],
  proration_behavior: "always_invoice",
});
subscription = await note("upgraded", subscription.id);

const payments = await stripe.invoicePayments.list({ invoice: subscription.latest_invoice.id });
const intent = payments.data[0].payment.payment_intent;
await stripe.refunds.create({ payment_intent: intent, amount: 375 });
let tooMuch = null;
try {
  await stripe.refunds.create({ payment_intent: intent, amount: 376 });
} catch (error) {
  tooMuch = [error.type, error.statusCode];
}
await stripe.subscriptions.cancel(subscription.id);
subscription = await note("canceled", subscription.id);

let paid = 0;
let refunded = 0;
let declined = 0;
for await (const charge of stripe.charges.list({ customer: customer.id, limit: 2 })) {
  paid += charge.paid ? charge.amount : 0;
  declined += charge.paid ? 0 : 1;
  refunded += charge.amount_refunded;
}
const types = new Set();
for await (const event of stripe.events.list({ limit: 5 })) types.add(event.type);
console.log(JSON.stringify({ steps, money: { paid, refunded, declined }, too_much: tooMuch, types: [...types].sort() }));

"""axe-core on a page as it stands: what is serious or worse."""

from typing import Any

from playwright.sync_api import Page

# What does not depend on colours is the same in the dark: there only the contrast is looked at, which takes half the time.
LOOK = """async () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const found = await axe.run(document, {resultTypes: ["violations"], ...(dark ? {runOnly: ["color-contrast"]} : {})});
  return found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]);
}"""


def shuts_out(page: Page, axe: str) -> list[Any]:
    """Return what keeps somebody from using the page, by axe's own weights."""
    page.evaluate(axe)
    found: list[Any] = page.evaluate(LOOK)
    return found

// The colours of page.css, for canvases: they follow the theme.

/** The value of a custom property now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The same, with an opacity. */
export function faint(name, opacity) {
  return `color-mix(in srgb, ${colour(name)} ${Math.round(100 * opacity)}%, transparent)`;
}

// Numbers as a person reads them. null and NaN are an en dash: not known is not zero.

const NONE = "–";
const PREFIXES = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** With so many decimals, whatever its size. */
export function fixed(value, decimals = 4) {
  return known(value) ? value.toFixed(decimals) : NONE;
}

/** A count with separators. */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en") : NONE;
}

/** Three digits and a prefix: 12.3k. */
export function short(value) {
  if (!known(value)) return NONE;
  for (const [unit, prefix] of PREFIXES) {
    if (Math.abs(value) >= unit) return `${Number((value / unit).toPrecision(3))}${prefix}`;
  }
  return String(Number(value.toPrecision(3)));
}

/** A share as per cent. */
export function percent(value, decimals = 1) {
  return known(value) ? `${(100 * value).toFixed(decimals)} %` : NONE;
}

/** A relative change with its sign: +1.2 %. */
export function change(value, decimals = 1) {
  return known(value) ? `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(decimals)} %` : NONE;
}

/** Bytes with binary prefixes. */
export function bytes(value) {
  if (!known(value)) return NONE;
  const power = value < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${Number((value / 1024 ** power).toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** Seconds in the unit that fits. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value < 1) return `${Number((1000 * value).toPrecision(2))} ms`;
  if (value < 100) return `${Number(value.toPrecision(2))} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} d`;
}

/** Milliseconds since 1970 as local date and time. */
export function when(milliseconds) {
  return known(milliseconds) ? new Date(milliseconds).toLocaleString("en-GB") : NONE;
}

// The four answers at the top, from one line of figures. A verdict is a word, a sentence and a figure;
// `kind` is good, warn, bad or unknown, and is always said in words as well as in colour.
//
//   learning     normalized entropy of the window: 1 is what the base rate alone would reach
//   calibrated   sum of predictions over sum of labels; off when it is more than 5 % and more than
//                three standard errors away from 1 (clicks are counts: 1 / sqrt(clicks))
//   healthy      what this replica says of itself: state, learning, durability, staleness
//   changed      normalized entropy of the window against the whole stream: unlike log loss, it
//                does not move when only the share of clicks does

import { change, fixed, percent, seconds } from "./format.js";

const ENOUGH = 1000; // examples, below which nothing is said
const OFF = 0.05;
const STALE_SECONDS = 5;
const LAG_ENTRIES = 1000;

const verdict = (kind, word, sentence, figure) => ({ kind, word, sentence, figure });
const unknown = (figure) => verdict("unknown", "Too early", "Not enough examples yet.", figure);

export function learning({ window = {} }) {
  const entropy = window.normalized_entropy;
  const figure = fixed(entropy, 3);
  if (!(window.examples >= ENOUGH) || entropy === null) return unknown(figure);
  const gain = `${percent(Math.abs(1 - entropy))} ${entropy < 1 ? "better" : "worse"} than the base rate`;
  if (entropy < 0.995) return verdict("good", "Yes", `${gain}; AUC ${fixed(window.auc, 3)}`, figure);
  if (entropy <= 1.005) return verdict("warn", "Hardly", `As good as the base rate; AUC ${fixed(window.auc, 3)}`, figure);
  return verdict("bad", "No", gain, figure);
}

export function calibrated({ window = {} }) {
  const ratio = window.calibration;
  const figure = fixed(ratio, 3);
  if (!(window.examples >= ENOUGH) || !Number.isFinite(ratio)) return unknown(figure);
  const off = Math.abs(ratio - 1);
  const error = ratio / Math.sqrt(Math.max(1, clicksOf(window)));
  const sentence = `Predicts ${percent(off)} ${ratio < 1 ? "fewer" : "more"} clicks than came`;
  if (off <= OFF || off <= 3 * error) return verdict("good", "Yes", sentence, figure);
  return verdict(off > 4 * OFF ? "bad" : "warn", off > 4 * OFF ? "No" : "Slightly off", sentence, figure);
}

// Clicks in the window.
function clicksOf({ examples, mean_label: rate }) {
  return examples * (rate ?? 0.05);
}

export function healthy(line) {
  const faults = [];
  if (line.state !== "live") faults.push(`the model is ${line.state}`);
  if (line.learn === false && line.state === "live") faults.push("it refuses to learn");
  if (line.durability_refused) faults.push(`durability is not given: ${line.durability_refused}`);
  if (line.stale_seconds > STALE_SECONDS) faults.push(`Redis has been silent for ${seconds(line.stale_seconds)}`);
  if (line.log?.lag_entries > LAG_ENTRIES) faults.push(`${line.log.lag_entries} entries of the log are not folded yet`);
  if ((line.replicas ?? []).some((one) => one.differences > 0)) faults.push("a replica once differed from the others");
  if (!faults.length) return verdict("good", "Yes", `Learns, acknowledged under ${line.durability}`, line.position);
  const kind = line.state === "live" && line.learn ? "warn" : "bad";
  return verdict(kind, kind === "bad" ? "No" : "Look at it", faults.join("; "), line.position);
}

export function changed({ normalized_entropy: whole, window = {} }) {
  const recent = window.normalized_entropy;
  const by = recent / whole - 1;
  const figure = change(by);
  if (!(window.examples >= ENOUGH) || !Number.isFinite(by)) return unknown(figure);
  const sentence = `Normalized entropy of the latest against all: ${fixed(recent, 3)} to ${fixed(whole, 3)}`;
  if (by > 0.03) return verdict("warn", "Got worse", sentence, figure);
  return verdict("good", by < -0.005 ? "Got better" : "Little", sentence, figure);
}

// One line of the stream as one point of the charts.

export const SERIES = [
  "examples", "time", "rate", "log_loss", "window_log_loss", "base_log_loss", "ne", "window_ne", "one",
  "auc", "window_auc", "half", "calibration", "window_calibration",
];

/** The point; `before` is the one before it (the rate is what was learned between the two). */
export function figuresOf(line, before) {
  const window = line.window ?? {};
  const time = line.time ?? Date.now() / 1000;
  const between = before ? time - before.time : 0;
  const rate = between > 0 ? Math.max(0, (line.examples - before.examples) / between) : null;
  return {
    examples: line.examples,
    time,
    rate,
    log_loss: line.log_loss,
    window_log_loss: window.log_loss,
    base_log_loss: line.base_rate_log_loss,
    ne: line.normalized_entropy,
    window_ne: window.normalized_entropy,
    one: 1,
    auc: line.auc,
    window_auc: window.auc,
    half: 0.5,
    calibration: line.calibration,
    window_calibration: window.calibration,
  };
}

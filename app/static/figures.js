// One line of the stream as one point of the charts, and flat for the views.

export const SERIES = [
  "examples", "time", "log_loss", "window_log_loss", "base_log_loss", "ne", "window_ne", "one",
  "auc", "window_auc", "half", "calibration", "window_calibration",
];
export const PACE = ["time", "learn", "predict", "learn_p50", "learn_p99", "predict_p50", "predict_p99"];

/** The line with the figures of the whole stream at its top; null while the model is not served. */
export function flat(line) {
  if (!line.whole) return null;
  return { ...line, ...line.whole, window: line.window ?? {}, stale_seconds: line.log?.stale_seconds };
}

/** A point of SERIES, of a flat line. */
export function point(line) {
  const { window } = line;
  return {
    examples: line.examples,
    time: line.at,
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

/** A point of PACE. */
export function pace({ at, learn_per_second, predict_requests_per_second, latency = {} }) {
  return {
    time: at,
    learn: learn_per_second,
    predict: predict_requests_per_second,
    learn_p50: latency.learn?.p50_ms,
    learn_p99: latency.learn?.p99_ms,
    predict_p50: latency.predict?.p50_ms,
    predict_p99: latency.predict?.p99_ms,
  };
}

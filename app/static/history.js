// The history that the fold keeps, as points of the charts.
//
// It has sums of the whole stream and of each stretch of `interval` examples. The figures of the
// latest 100,000 at a point are means over the stretches that they cover; where a stretch is longer
// than that, they are the stretch's own.

const WINDOW = 100000;

/** Points as figuresOf makes them, oldest first. */
export function pointsOf({ interval, examples, time_ms: times, whole, since }) {
  const span = Math.max(1, Math.round(WINDOW / interval));
  return examples.map((at, i) => ({
    examples: at,
    time: times[i] / 1000,
    log_loss: whole.log_loss[i],
    base_log_loss: whole.base_rate_log_loss[i],
    ne: whole.normalized_entropy[i],
    auc: whole.auc[i],
    calibration: whole.calibration[i],
    one: 1,
    half: 0.5,
    ...recent(since, Math.max(0, i + 1 - span), i + 1),
  }));
}

function recent(since, from, to) {
  const mean = (name) => {
    const known = since[name].slice(from, to).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const loss = mean("log_loss");
  const rate = mean("mean_label");
  const predicted = mean("mean_prediction");
  return {
    window_log_loss: loss,
    window_ne: rate > 0 && rate < 1 ? loss / entropy(rate) : null,
    window_auc: mean("auc"),
    window_calibration: rate > 0 ? predicted / rate : null,
  };
}

const entropy = (rate) => -rate * Math.log(rate) - (1 - rate) * Math.log(1 - rate);

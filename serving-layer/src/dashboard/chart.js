// Draws buckets over time. What lies below the watershed is a filled, solid line; what live records add is dashed,
// with the error band of an estimate around it. Buckets with live records lie in a shaded zone that begins at the line
// where they do: left of it nothing can change any more but by late records and the next version.

const colours = ["#1f6f8b", "#b4540a", "#6a4c93", "#1d7a46", "#a3293d", "#4f6d7a", "#8a6d00", "#0b5fa5"];

export const colour = (index) => colours[index % colours.length];

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function shade(plot, from) {
  if (from == null) return;
  const { left, top, width, height } = plot.bbox;
  const x = Math.max(left, Math.min(plot.valToPos(from, "x", true), left + width));
  plot.ctx.save();
  plot.ctx.fillStyle = plot.ctx.strokeStyle = variable("--live");
  plot.ctx.globalAlpha = 0.08;
  plot.ctx.fillRect(x, top, left + width - x, height);
  plot.ctx.globalAlpha = 0.9;
  plot.ctx.lineWidth = 1.5 * devicePixelRatio;
  plot.ctx.beginPath();
  plot.ctx.moveTo(x, top);
  plot.ctx.lineTo(x, top + height);
  plot.ctx.stroke();
  plot.ctx.restore();
}

// The time of a tick, and its date where a day begins.
function ticks(_, splits, __, ___, step) {
  return splits.map((seconds, index) => {
    const text = new Date(seconds * 1000).toISOString();
    const [day, time] = [text.slice(0, 10), text.slice(11, 16)];
    if (step >= 86400) return day;
    return index === 0 || time === "00:00" ? `${time}\n${day}` : time;
  });
}

// The width of a bucket: the least time between two.
function bucket(times) {
  const widths = times.slice(1).map((time, index) => time - times[index]);
  return widths.length ? Math.min(...widths) : 0;
}

// `lines` are { label, values, colour, live, filled, band: { low, high } | undefined }, all over the same `times` (seconds).
export function draw(plot, into, { times, lines, liveFrom }) {
  const series = [{ label: "window" }];
  const data = [times];
  const bands = [];
  for (const line of lines) {
    if (line.band) {
      const edge = { label: `${line.label} ±`, class: "edge", stroke: "transparent", points: { show: false } };
      series.push(edge, { ...edge });
      data.push(line.band.high, line.band.low);
      bands.push({ series: [data.length - 2, data.length - 1], fill: `${line.colour}30` });
    }
    const alone = line.values.filter((value) => value != null).length < 80;
    series.push({
      label: line.label,
      stroke: line.colour,
      width: 2,
      dash: line.live ? [6, 4] : undefined,
      fill: line.filled ? `${line.colour}28` : undefined,
      points: { show: alone, size: 5 },
    });
    data.push(line.values);
  }
  const axis = { stroke: variable("--quiet"), grid: { stroke: variable("--line"), width: 1 }, ticks: { stroke: variable("--line") } };
  const shape = lines.map((line) => `${line.label}${!!line.band}${line.live}`).join();
  const extent = { liveFrom, bucket: bucket(times) };
  // A chart of the same lines takes new numbers without being made again.
  if (plot?.shape === shape) {
    Object.assign(plot.extent, extent);
    plot.setData(data);
    return plot;
  }
  plot?.destroy();
  const made = new uPlot({
    width: into.clientWidth,
    height: Math.max(260, Math.min(420, innerHeight * 0.45)),
    series,
    bands,
    scales: {
      // A bucket reaches to where the next one begins, the last one too.
      x: { range: (_, first, last) => [first, last + (extent.bucket || 1)] },
      y: { range: (_, low, high) => (low == null ? [0, 1] : uPlot.rangeNum(Math.min(low, 0), high, 0.1, true)) },
    },
    axes: [{ ...axis, values: ticks, space: 90 }, { ...axis, size: 64 }],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    hooks: { drawClear: [(self) => shade(self, extent.liveFrom)] },
  }, data, into);
  return Object.assign(made, { shape, extent });
}

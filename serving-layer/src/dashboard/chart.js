// Draws buckets over time. What lies below the watershed is a filled, solid line; what live records add is dashed,
// with the error band of an estimate around it. Buckets with live records lie in a shaded zone that begins at the line
// where they do: left of it nothing can change any more but by late records and the next version.

const colours = ["#1f6f8b", "#b4540a", "#6a4c93", "#1d7a46", "#a3293d", "#4f6d7a", "#8a6d00", "#0b5fa5"];

export const colour = (index) => colours[index % colours.length];

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function zone(first) {
  return (plot) => {
    if (first == null) return;
    const { left, top, width, height } = plot.bbox;
    const x = Math.max(left, Math.min(plot.valToPos(first, "x", true), left + width));
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
  };
}

// `lines` are { label, values, colour, live, band: { low, high } | undefined }, all over the same `times` (seconds).
export function draw(plot, into, { times, lines, liveFrom, zone: timeZone }) {
  const series = [{ label: "window" }];
  const data = [times];
  const bands = [];
  for (const line of lines) {
    if (line.band) {
      const edge = { label: `${line.label} ±`, stroke: "transparent", points: { show: false } };
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
      fill: line.live ? undefined : `${line.colour}28`,
      points: { show: alone, size: 5 },
    });
    data.push(line.values);
  }
  const axis = { stroke: variable("--quiet"), grid: { stroke: variable("--line"), width: 1 }, ticks: { stroke: variable("--line") } };
  const shape = lines.map((line) => `${line.label}${!!line.band}${line.live}`).join();
  // A chart of the same lines takes new numbers without being made again.
  if (plot?.shape === shape) {
    plot.first = liveFrom;
    plot.setData(data);
    return plot;
  }
  plot?.destroy();
  const made = new uPlot({
    width: into.clientWidth,
    height: Math.max(260, Math.min(420, innerHeight * 0.45)),
    series,
    bands,
    scales: { y: { range: (_, low, high) => (low == null ? [0, 1] : uPlot.rangeNum(Math.min(low, 0), high, 0.1, true)) } },
    axes: [axis, { ...axis, size: 64 }],
    legend: { live: true },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), timeZone),
    hooks: { drawClear: [(self) => zone(self.first)(self)] },
  }, data, into);
  Object.assign(made, { shape, first: liveFrom });
  made.redraw();
  return made;
}

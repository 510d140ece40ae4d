"use strict";
// A route's charts: one axis of time and one cursor for all, with what happened marked on it. Data and marks are series.json's.
(() => {
  const section = document.getElementById("charts");
  if (!section || !window.uPlot) return;
  const names = section.dataset;
  const word = (key) => names[key.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())];
  const seconds = Number(names.liveSeconds);
  const SYNC = "route";
  const percent = (value) => (value == null ? "–" : `${(Math.floor(value * 10000 + 1e-6) / 100).toFixed(2)} %`);
  const time = (value) => (value == null ? "–" : value >= 1 ? `${value.toFixed(1)} s` : `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`);
  const SOLID = [], DASHED = [7, 4], DOTTED = [2, 3], MIXED = [7, 3, 2, 3];
  const STYLES = new Map([[SOLID, "solid"], [DASHED, "dashed"], [DOTTED, "dotted"], [MIXED, "double"]]); // of the legend's
  // Lines can be told apart without colours: by their dashes, and by how wide they are.
  const CHARTS = {
    match: { format: percent, lines: [["high", "candidate", DOTTED, 1], ["low", "candidate", DOTTED, 1], ["rate", "candidate", SOLID, 2]], band: [1, 2] }, // what is last is above
    coverage: { format: percent, floor: 0, lines: [["coverage", "accent", SOLID, 2]] },
    latency: {
      format: time, floor: 0,
      lines: [["legacy_p95", "legacy", SOLID, 2], ["legacy_p50", "legacy", DOTTED, 1.5], ["candidate_p95", "candidate", DASHED, 2], ["candidate_p50", "candidate", MIXED, 1.5]],
    },
    errors: { format: percent, floor: 0, lines: [["legacy_errors", "legacy", SOLID, 2], ["candidate_errors", "candidate", DASHED, 2]] },
    share: { format: percent, floor: 0, ceiling: 1, lines: [["share", "candidate", SOLID, 2]] },
  };
  let data = null;
  let tag = "";
  let plots = [];

  const tick = (format) => (value) => (format === time ? time(value) : `${+(value * 100).toFixed(2)} %`);
  const pad = (number) => String(number).padStart(2, "0");
  function moments(_, ticks, __, ___, step) {
    return ticks.map((at) => {
      const when = new Date(at * 1000);
      const day = `${pad(when.getUTCMonth() + 1)}-${pad(when.getUTCDate())}`;
      if (step >= 86400) return day;
      const clocked = `${pad(when.getUTCHours())}:${pad(when.getUTCMinutes())}${step < 60 ? ":" + pad(when.getUTCSeconds()) : ""}`;
      return when.getUTCHours() || when.getUTCMinutes() ? clocked : `${clocked}\n${day}`;
    });
  }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const clock = (at) => new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ");

  function marks() {
    return {
      hooks: {
        draw: (plot) => {
          const { ctx, bbox } = plot;
          ctx.save();
          ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
          ctx.textAlign = "center";
          const labels = []; // of marks that are close to each other there is one, such as 1–3
          data.marks.forEach((mark, place) => {
            if (mark.at < plot.scales.x.min || mark.at > plot.scales.x.max) return;
            const x = Math.round(plot.valToPos(mark.at, "x", true));
            const last = labels.at(-1);
            if (last && x - last.right < 22 * devicePixelRatio) Object.assign(last, { right: x, to: place + 1, bad: last.bad || mark.bad });
            else labels.push({ left: x, right: x, from: place + 1, to: place + 1, bad: mark.bad });
            ctx.strokeStyle = colour(mark.bad ? "bad" : "soft");
            ctx.lineWidth = (mark.bad ? 2 : 1) * devicePixelRatio;
            ctx.setLineDash(mark.bad ? [] : [3 * devicePixelRatio, 3 * devicePixelRatio]);
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
          });
          for (const { left, right, from, to, bad } of labels) {
            ctx.fillStyle = colour(bad ? "bad" : "soft");
            ctx.fillText((from === to ? `${from}` : `${from}–${to}`) + (bad ? "!" : ""), (left + right) / 2, bbox.top - 3 * devicePixelRatio);
          }
          ctx.restore();
        },
      },
    };
  }

  function options(chart, width) {
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
    return {
      width, height: 170, padding: [14, 20, 0, 0],
      tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      cursor: { sync: { key: SYNC, setSeries: false }, drag: { x: true, y: false, setScale: false } },
      scales: {
        x: { time: true, range: () => [Math.min(data.since, data.columns.at[0] ?? data.since), Math.max(data.until, data.since + 1)] }, // a step may begin before
        y: {
          range: (_, low, high) => {
            if (low == null) return [chart.floor ?? 0, chart.ceiling ?? 1];
            const top = chart.ceiling ?? (high === low ? high + (high || 1) * 0.1 : high + (high - low) * 0.05);
            const foot = chart.floor ?? low - (high - low) * 0.05;
            return chart.format === percent ? [Math.max(0, foot), Math.min(1, Math.max(top, foot + 0.001))] : [foot, top];
          },
        },
      },
      axes: [{ ...axis, values: moments }, { ...axis, size: 64, values: (_, ticks) => ticks.map(tick(chart.format)) }],
      legend: { markers: { width: 2, dash: (_, line) => STYLES.get(chart.lines[line - 1]?.[2]) || "solid" } },
      series: [
        { label: names.time, value: (_, at) => (at == null ? "–" : clock(at)) },
        ...chart.lines.map(([key, ink, dash, thick]) => ({
          label: word(key), stroke: () => colour(ink), dash, width: thick, spanGaps: false,
          points: { show: data.columns.at.length < 3, size: 6 }, value: (_, value) => chart.format(value),
        })),
      ],
      bands: chart.band ? [{ series: chart.band, fill: () => colour("is-bg") }] : [],
      plugins: [marks()],
      hooks: {
        setSelect: [(plot) => {
          if (plot.select.width < 8) return;
          const ends = [plot.select.left, plot.select.left + plot.select.width].map((x) => Math.round(plot.posToVal(x, "x")));
          location.assign(`?since=${ends[0]}&until=${Math.max(ends[1], ends[0] + 60)}#charts`);
        }],
      },
    };
  }

  const rows = (chart) => [data.columns.at, ...chart.lines.map(([key]) => data.columns[key])];

  function describe(box, chart) {
    const figures = chart.lines.map(([key]) => {
      const values = data.columns[key].filter((value) => value != null);
      if (!values.length) return "";
      return names.figures.replace("{name}", word(key)).replace("{last}", chart.format(values.at(-1)))
        .replace("{low}", chart.format(Math.min(...values))).replace("{high}", chart.format(Math.max(...values)));
    }).filter(Boolean).join("; ");
    const said = names.summary.replace("{name}", box.closest("figure").querySelector("figcaption").textContent)
      .replace("{since}", clock(data.since)).replace("{until}", clock(data.until)).replace("{figures}", figures || names.nothing);
    const canvas = box.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", said);
  }

  function draw(anew) {
    if (anew) {
      plots.forEach(({ plot }) => plot.destroy());
      plots = [];
    }
    for (const box of section.querySelectorAll("[data-chart]")) {
      const chart = CHARTS[box.dataset.chart];
      let made = plots.find((each) => each.box === box);
      if (made) made.plot.setData(rows(chart));
      else {
        made = { box, chart, plot: new window.uPlot(options(chart, box.clientWidth), rows(chart), box) };
        plots.push(made);
      }
      describe(box, chart);
    }
    list();
    table();
  }

  function list() {
    const holder = document.getElementById("marks");
    const entries = data.marks.map((mark) => {
      const item = document.createElement("li");
      const at = document.createElement("time");
      at.dateTime = new Date(mark.at * 1000).toISOString();
      at.textContent = clock(mark.at);
      const text = document.createElement(mark.link ? "a" : "span");
      if (mark.link) text.href = mark.link;
      text.textContent = mark.text;
      if (mark.bad) item.className = "bad";
      item.append(at, mark.bad ? " ! " : " ", text);
      return item;
    });
    const before = holder.querySelector("ol");
    if (before.textContent !== entries.map((each) => each.textContent).join("")) before.replaceChildren(...entries);
    holder.hidden = !entries.length;
  }

  const details = document.getElementById("as-table");
  function table() {
    if (!details.open) return;
    const columns = Object.keys(data.columns).filter((key) => key !== "at");
    const lines = data.columns.at.map((at, place) => {
      const line = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = `${clock(at)} UTC`;
      line.append(head, ...columns.map((key) => {
        const cell = document.createElement("td");
        const value = data.columns[key][place];
        cell.className = "n";
        cell.textContent = /_p\d/.test(key) ? time(value) : key === "served" || key === "compared" ? Number(value).toLocaleString("en") : percent(value);
        return cell;
      }));
      return line;
    });
    details.querySelector("tbody").replaceChildren(...lines);
  }
  details.addEventListener("toggle", () => data && table());

  async function ask() {
    if (document.hidden && data) return;
    try {
      const answer = await fetch(names.series, { headers: tag ? { "If-None-Match": tag } : {}, signal: AbortSignal.timeout(8000), cache: "no-store", redirect: "error" });
      if (answer.status === 304) {
        const passed = (Date.now() - ask.at) / 1000;
        data.since += passed; data.until += passed; // nothing new, and time goes on
        ask.at = Date.now();
        plots.forEach(({ plot, chart }) => plot.setData(rows(chart)));
      } else if (answer.ok) {
        tag = answer.headers.get("ETag") || "";
        data = await answer.json();
        ask.at = Date.now();
        draw(false);
      }
    } catch (error) {
      if (!data) section.classList.add("failed"); // live.js says that nothing newer comes
    }
  }
  ask.at = Date.now();

  let width = 0;
  new ResizeObserver(() => {
    if (!data || section.clientWidth === width) return;
    width = section.clientWidth;
    for (const { plot, box } of plots) plot.setSize({ width: box.clientWidth, height: 170 });
  }).observe(section);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw(true));
  ask();
  if (seconds) setInterval(ask, seconds * 1000);
})();

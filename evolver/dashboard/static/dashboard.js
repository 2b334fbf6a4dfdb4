// Charts, and what makes pages handier. Everything that is told is in the page without this as well.
"use strict";

(() => {
  document.documentElement.classList.add("scripted");
  const AGAIN_MS = 120;
  const AWAY = "The server does not answer.";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // --- charts: <div data-chart="address"> draws what the address answers ---

  function themed(layout, width) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false, automargin: true };
    const dressed = {
      ...layout,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--text") },
      margin: { l: 50, r: 12, t: 10, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--muted"), font: { color: colour("--text"), size: 12 }, align: "left" },
      dragmode: width < 600 && !layout.scene ? false : undefined,
    };
    if (layout.scene) {
      dressed.scene = {};
      dressed.margin = { l: 0, r: 0, t: 10, b: 0 };
      for (const key of Object.keys(layout.scene)) {
        if (key === "camera") dressed.scene[key] = layout.scene[key];
        else dressed.scene[key] = { ...axis, ...layout.scene[key], title: { ...layout.scene[key].title, font: { size: 11 } } };
      }
    } else {
      dressed.xaxis = { ...axis, ...layout.xaxis };
      dressed.yaxis = { ...axis, ...layout.yaxis };
    }
    return dressed;
  }

  function addressOf(chart) {
    const form = chart.dataset.form && document.getElementById(chart.dataset.form);
    if (!form) return chart.dataset.chart;
    const asked = new URLSearchParams(new FormData(form));
    const time = form.elements.at;
    if (time && "now" in time.dataset) asked.delete("at");
    return `${chart.dataset.chart}?${asked}`;
  }

  /** What a page of errors says. */
  function messageOf(text) {
    const message = new DOMParser().parseFromString(text, "text/html").querySelector("[data-message]");
    return message ? message.textContent : "The server cannot answer now.";
  }

  /** Text in the place of a chart that was never drawn; one that was stays as it is. */
  function told(chart, text) {
    if (chart.drawn) return;
    chart.replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: text }));
  }

  async function draw(chart) {
    const turn = (chart.turn = (chart.turn || 0) + 1);
    let figure;
    try {
      const answer = await fetch(addressOf(chart), { headers: { Accept: "application/json" } });
      if (!answer.ok) return told(chart, messageOf(await answer.text()));
      figure = await answer.json();
    } catch {
      return told(chart, AWAY);
    }
    if (turn !== chart.turn) return; // asked again meanwhile
    const note = document.querySelector(`[data-note-of="${chart.id}"]`);
    if (note && chart.id && figure.layout.meta) note.textContent = figure.layout.meta.note;
    if (!figure.data.some((trace) => trace.x.length)) {
      if (chart.drawn) Plotly.purge(chart);
      chart.drawn = false;
      return told(chart, "Nothing to draw yet.");
    }
    if (!chart.drawn) chart.replaceChildren();
    chart.figure = figure;
    await Plotly.react(chart, figure.data, themed(figure.layout, chart.clientWidth), { displayModeBar: false, responsive: true });
    if (!chart.drawn && chart.dataset.opens) {
      chart.on("plotly_click", (event) => { location.href = chart.dataset.opens + event.points[0].customdata; });
    }
    chart.drawn = true;
  }

  const charts = () => document.querySelectorAll("[data-chart]");
  const versions = () => [...document.querySelectorAll("[data-version]")].map((one) => one.dataset.version).join(" ");

  // --- updates: htmx brings the new page; charts follow when their data have changed ---

  // What somebody has opened stays open, though it comes closed.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => name !== "open" || node.tagName !== "DETAILS";

  let seen = versions();
  document.addEventListener("htmx:afterSettle", () => {
    document.getElementById("away").hidden = true;
    const now = versions();
    if (now === seen) return;
    seen = now;
    const time = document.getElementById("at");
    const told = document.querySelector("[data-ingested]");
    if (time && told) {
      time.max = told.dataset.ingested;
      if ("now" in time.dataset) time.value = time.max;
    }
    document.querySelectorAll("[data-chart][data-live]").forEach(draw);
  });
  document.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
  function warned(text) {
    const away = document.getElementById("away");
    away.textContent = `${text} What is shown may be old.`;
    away.hidden = false;
  }
  document.addEventListener("htmx:sendError", () => warned(AWAY));
  document.addEventListener("htmx:responseError", (event) => warned(messageOf(event.detail.xhr.responseText)));
  document.addEventListener("htmx:configRequest", (event) => {
    const time = document.getElementById("at");
    if (time && !("now" in time.dataset)) event.detail.parameters.at = time.value;
  });

  // --- the front: its form redraws the chart, its slider moves through time ---

  function replayed(form, chart) {
    const time = form.elements.at;
    const play = document.getElementById("play");
    let waiting = 0;
    let playing = 0;
    const redraw = () => {
      if (time.value === time.max) time.dataset.now = "";
      else delete time.dataset.now;
      time.setAttribute("aria-valuetext", `after ${time.value} results`);
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        draw(chart);
        htmx.trigger("#live", "moved"); // the table
        history.replaceState(null, "", `${location.pathname}?${addressOf(chart).split("?")[1]}`);
      }, AGAIN_MS);
    };
    const stop = () => { clearInterval(playing); playing = 0; play.textContent = "Play"; };
    form.addEventListener("input", redraw);
    time.addEventListener("pointerdown", stop);
    form.addEventListener("submit", (event) => { event.preventDefault(); redraw(); });
    play.hidden = false;
    play.addEventListener("click", () => {
      if (playing) return stop();
      play.textContent = "Stop";
      if (time.value === time.max) time.value = 0;
      playing = setInterval(() => {
        time.value = Math.min(+time.max, +time.value + Math.max(1, Math.round(time.max / 60)));
        redraw();
        if (time.value === time.max) stop();
      }, 350);
    });
  }

  // --- the lineage: zoom ---

  function zoomed(group) {
    const tree = document.getElementById("tree");
    if (!tree) return;
    let scale = 1;
    const show = () => {
      tree.setAttribute("width", tree.dataset.width * scale);
      tree.setAttribute("height", tree.dataset.height * scale);
    };
    const fit = () => Math.min(1.2, (tree.parentElement.clientWidth - 2) / tree.dataset.width);
    group.hidden = false;
    group.addEventListener("click", (event) => {
      const by = event.target.dataset.zoom;
      if (!by) return;
      scale = by === "fit" ? fit() : Math.max(0.1, Math.min(4, scale * by));
      show();
    });
    scale = Math.min(1, Math.max(0.7, fit()));
    show();
    const box = tree.parentElement;
    box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2;
  }

  charts().forEach(draw);
  dark.addEventListener("change", () => charts().forEach((one) => {
    if (one.drawn) Plotly.react(one, one.figure.data, themed(one.figure.layout, one.clientWidth));
  }));
  for (const form of document.querySelectorAll("[data-controls]")) {
    replayed(form, document.getElementById(form.dataset.controls));
  }
  for (const form of document.querySelectorAll("[data-submits]")) {
    form.addEventListener("change", () => form.requestSubmit());
  }
  document.querySelectorAll(".zoom").forEach(zoomed);
})();

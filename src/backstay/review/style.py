"""How documents look: one stylesheet, for screens by day and by night, and for paper."""

STYLE = """
:root {
  --paper: #fcfcfa; --ink: #1d2630; --quiet: #5b6773; --line: #d9dee3; --panel: #f3f5f6; --link: #14578a;
  --pass: #1c6b43; --pass-soft: #e4f2ea; --warn: #7a5200; --warn-soft: #fbf0d9;
  --fail: #a3231d; --fail-soft: #fbe6e4; --none: #5b6773; --none-soft: #eceff1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14191e; --ink: #dfe5ea; --quiet: #97a3ae; --line: #2e3740; --panel: #1b2229; --link: #85bdea;
    --pass: #7fd3a5; --pass-soft: #173326; --warn: #ecc26a; --warn-soft: #362b14;
    --fail: #f29b95; --fail-soft: #3d1d1b; --none: #97a3ae; --none-soft: #252d35;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1, h2, h3, h4, h5, h6 { line-height: 1.25; font-weight: 650; text-wrap: balance; }
h1 { margin: 0; font-size: 2.1rem; letter-spacing: -0.015em; }
h2 { margin: 3.5rem 0 1rem; padding-bottom: .4rem; border-bottom: 1px solid var(--line); font-size: 1.5rem; }
h3 { margin: 2.2rem 0 .7rem; font-size: 1.2rem; }
h4, h5, h6 { margin: 1.6rem 0 .5rem; font-size: 1.02rem; }
p, ul, ol, dl, pre, .wide { margin: .8rem 0; }
p, li, dd { max-width: 46rem; overflow-wrap: anywhere; }
ul, ol { padding-left: 1.4rem; }
li + li { margin-top: .25rem; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { position: static; }
.subtitle { margin: .3rem 0 0; color: var(--quiet); font-size: 1.15rem; }
code, pre { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; font-size: .88em; }
code { padding: .1em .3em; border-radius: 4px; background: var(--panel); }
pre {
  padding: 1rem 1.2rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--panel);
  line-height: 1.5; white-space: pre-wrap;
}
dl.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.2rem; margin-top: 1.4rem; }
dl.facts dt { color: var(--quiet); font-size: .82rem; }
dl.facts dd { margin: 0; font-weight: 550; }
dl.pairs > div { display: grid; grid-template-columns: minmax(9rem, 13rem) 1fr; gap: 1rem; padding: .3rem 0; }
dl.pairs dt { color: var(--quiet); }
dl.pairs dd { margin: 0; }
nav { margin: 2.5rem 0; padding: 1rem 1.5rem 1.2rem; border: 1px solid var(--line); border-radius: 10px; }
nav h2 { margin: 0 0 .5rem; padding: 0; border: 0; font-size: 1rem; color: var(--quiet); }
nav ol { columns: 2; column-gap: 2.5rem; margin: 0; }
nav li { break-inside: avoid; }
nav li ul { margin: .2rem 0 .5rem; padding-left: 0; list-style: none; font-size: .9rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .93rem; }
caption { padding: .3rem 0; text-align: left; color: var(--quiet); font-size: .85rem; }
th, td { padding: .5rem .8rem .5rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-size: .82rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; }
td, tbody th { overflow-wrap: break-word; min-width: 5rem; }
@media (min-width: 48rem) { tbody th { white-space: nowrap; } }
.empty { color: var(--quiet); }
.mark { font-weight: 600; white-space: nowrap; }
.mark > span {
  display: inline-flex; align-items: center; justify-content: center; width: 1.25em; height: 1.25em;
  margin-right: .4em; border-radius: 50%; font-size: .8em; font-weight: 700; line-height: 1;
}
.mark.pass { color: var(--pass); } .mark.pass > span { background: var(--pass-soft); }
.mark.warn { color: var(--warn); } .mark.warn > span { background: var(--warn-soft); }
.mark.fail { color: var(--fail); } .mark.fail > span { background: var(--fail-soft); }
.mark.none { color: var(--none); } .mark.none > span { background: var(--none-soft); }
.notice {
  padding: .8rem 1.1rem; border-left: 4px solid var(--none); border-radius: 0 8px 8px 0; background: var(--panel);
}
.notice.pass { border-color: var(--pass); } .notice.warn { border-color: var(--warn); background: var(--warn-soft); }
.notice.fail { border-color: var(--fail); background: var(--fail-soft); }
.cards {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; margin: 2rem 0; padding: 0;
  list-style: none;
}
.card {
  display: flex; flex-direction: column; gap: .2rem; margin: 0; padding: 1rem 1.2rem; border: 1px solid var(--line);
  border-top: 4px solid var(--none); border-radius: 10px; background: var(--panel);
}
.card.pass { border-top-color: var(--pass); } .card.warn { border-top-color: var(--warn); }
.card.fail { border-top-color: var(--fail); }
.card .name { color: var(--quiet); font-size: .85rem; }
.card .value { font-size: 1.5rem; font-weight: 650; letter-spacing: -0.01em; }
.card .sentence { color: var(--quiet); font-size: .88rem; }
footer { margin-top: 4rem; border-top: 1px solid var(--line); font-size: .9rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  nav ol { columns: 1; }
  dl.pairs > div { grid-template-columns: 1fr; gap: 0; }
}
@media print {
  :root {
    --paper: #fff; --ink: #000; --quiet: #444; --line: #bbb; --panel: #fff; --link: #000;
    --pass: #000; --pass-soft: #fff; --warn: #000; --warn-soft: #fff; --fail: #000; --fail-soft: #fff;
  }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  p, li, dd { max-width: none; }
  .skip { display: none; }
  h2, h3, h4 { break-after: avoid; }
  tr, table, .pairs, .card, .notice, pre { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
  .mark > span { border: 1px solid #000; }
  a { text-decoration: none; }
}
"""

// Which page is shown: the part of the address behind `#/`.

import { find } from "./dom.js";
import * as explore from "./explore.js";
import * as sql from "./sql.js";
import * as streams from "./streams.js";

const pages = { explore, streams, sql };
let shown;

function route() {
  const [name, query] = location.hash.replace(/^#\//, "").split("?");
  const page = name in pages ? name : "explore";
  for (const other of Object.keys(pages)) find(other).hidden = other !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown !== page) {
    if (shown) pages[shown].leave();
    shown = page;
    pages[page].enter(new URLSearchParams(query));
  }
}

addEventListener("hashchange", route);
// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => pages[shown].pause(document.hidden));
route();

// Finds a Chromium that plays H.264 and starts it. (The one that Playwright would download has no H.264.) A browser of
// the system goes first; scripts/setup.sh looks for the same names. Where there is none, as on Ubuntu, which has it as a
// snap only, one that an npm package carries serves: for x86-64, and with the system's libnss3.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "google-chrome", "google-chrome-stable", "chromium-browser"];

const FLAGS = [
  "--no-sandbox", // Containers, and root in them, have no user namespaces to build the sandbox with.
  "--disable-gpu",
  "--disable-quic", // Our QUIC is not the browser's; this keeps it from trying.
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];

async function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of (process.env.PATH || "").split(delimiter)) {
    for (const name of NAMES) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here; the next one.
      }
    }
  }
  if (process.arch === "x64") return (await import("@sparticuz/chromium")).default.executablePath();
  throw new Error(`no Chromium in PATH (${NAMES.join(", ")}): name one with CHROMIUM=/path/to/chromium`);
}

/** Starts the browser. */
export async function launch() {
  return chromium.launch({ executablePath: await executable(), headless: true, args: FLAGS });
}

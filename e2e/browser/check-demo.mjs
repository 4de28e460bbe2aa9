// `make demo CHECK=1`: watches all streams of the demo, and ends with 0 only if every one plays.
//   node check-demo.mjs WATCH_URL STREAM…
import { launch } from "./chromium.mjs";
import { open, playLive, readFrames, state } from "./watch.mjs";

const [url, ...streams] = process.argv.slice(2);
const browser = await launch();
let failed = false;
try {
  for (const stream of streams) {
    const watched = await open(browser, url);
    try {
      await playLive(watched, stream);
      const frames = await readFrames(watched, 50);
      const { error, fatal } = await state(watched);
      const different = new Set(frames.map((frame) => frame.number)).size;
      if (error || fatal.length > 0) throw new Error(error || JSON.stringify(fatal));
      if (different < 40) throw new Error(`only ${different} different frames of ${frames.length}`);
      console.log(`check: ${stream} plays: frames ${frames[0].number} to ${frames.at(-1).number}`);
    } catch (problem) {
      failed = true;
      console.error(`check: ${stream} does not play: ${problem.message}`);
    }
    await watched.page.close();
  }
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);

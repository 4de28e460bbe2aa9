// `make demo CHECK=1`: watches all streams of the demo as the browser tests do, and ends with 0 only if every one plays.
//   node check-demo.mjs WATCH_URL STREAMS     (STREAMS in JSON, as watch.test.mjs has them)
import { checkStream } from "./checks.mjs";
import { launch } from "./chromium.mjs";

const [url, streams] = process.argv.slice(2);
const browser = await launch();
let failed = false;
try {
  for (const stream of JSON.parse(streams)) {
    try {
      const { live, past } = await checkStream(browser, url, stream);
      const numbers = (frames) => `${frames[0].number} to ${frames.at(-1).number}`;
      console.log(`check: ${stream.name} plays: live frames ${numbers(live)}, past ${numbers(past)}`);
    } catch (problem) {
      failed = true;
      console.error(`check: ${stream.name} does not play: ${problem.message}`);
    }
  }
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);

// Sessions of the AWS API, opened with AWS's own SDK for JavaScript and played by hls.js and Shaka Player in a real browser, down to the
// single frame. Started by e2e/tests/browser.rs, which sets the stage and says in the environment where it is, as AWS's SDKs take it,
// and
//   SESSIONS   {"clip": {"name": …, "frames": …, "framesPerSecond": …, "start": …, "end": …}, "live": {"name": …, "frames": …}}
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import { APIName, GetDataEndpointCommand, KinesisVideoClient } from "@aws-sdk/client-kinesis-video";
import {
  GetDASHStreamingSessionURLCommand,
  GetHLSStreamingSessionURLCommand,
  KinesisVideoArchivedMediaClient,
} from "@aws-sdk/client-kinesis-video-archived-media";
import { installBarCode } from "./bar-code.mjs";
import { launch } from "./chromium.mjs";

const { clip, live } = JSON.parse(process.env.SESSIONS);
const require = createRequire(import.meta.url);
const PLAYERS = { hls: "hls.js/dist/hls.min.js", dash: "shaka-player/dist/shaka-player.compiled.js" };

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

const RANGE = { StartTimestamp: new Date(clip.start), EndTimestamp: new Date(clip.end) };
const PRODUCER = { FragmentSelectorType: "PRODUCER_TIMESTAMP", TimestampRange: RANGE };

for (const [name, protocol, wanted] of [
  ["HLS", "hls", {}],
  ["HLS with a discontinuity at each fragment", "hls", { DiscontinuityMode: "ALWAYS" }],
  ["HLS as MPEG-TS", "hls", { ContainerFormat: "MPEG_TS" }],
  ["DASH", "dash", {}],
]) {
  test(`${name} on demand shows every frame at its time`, async () => {
    const url = await session(protocol, clip.name, { PlaybackMode: "ON_DEMAND", ...selected(protocol, PRODUCER), ...wanted });
    assert.deepEqual(await probe(url), { pictures: clip.frames, complaints: "" }, "ffprobe reads all of it");
    const page = await play(protocol, url);
    await page.evaluate(() => window.video.pause());
    const { frames, framesPerSecond } = clip;
    const first = await page.evaluate((time) => window.frameAt(time), 2.5 / framesPerSecond);
    const begin = first.mediaTime - first.number / framesPerSecond;
    // Sound may begin a packet before the first picture.
    assert.ok(first.number <= 2 && begin >= -0.001 && begin < 0.05, `frame ${first.number} at ${first.mediaTime} s`);
    // Fragments are two seconds long; 13 frames at a time come by both sides of their seams.
    for (let frame = 3; frame < frames - 5; frame += 13) {
      const shown = await page.evaluate((time) => window.frameAt(time), begin + (frame + 0.5) / framesPerSecond);
      assert.deepEqual([shown.number, Math.round((shown.mediaTime - begin) * framesPerSecond)], [frame, frame]);
    }
    await close(page);
  });

  test(`${name} live shows frames as they come`, async () => {
    const url = await session(protocol, live.name, wanted);
    const page = await play(protocol, url);
    assertAscending(await page.evaluate(() => window.readFrames(60)), live.frames);
    await close(page);
  });

  test(`${name} replays the past from its beginning`, async () => {
    const range = { StartTimestamp: RANGE.StartTimestamp };
    const selector = selected(protocol, { ...PRODUCER, TimestampRange: range });
    const results = protocol === "hls" ? "MaxMediaPlaylistFragmentResults" : "MaxManifestFragmentResults";
    const url = await session(protocol, clip.name, { PlaybackMode: "LIVE_REPLAY", ...selector, ...wanted, [results]: 100 });
    const page = await play(protocol, url);
    const frames = await page.evaluate(() => window.readFrames(40));
    assertAscending(frames, clip.frames);
    assert.ok(frames[0] < clip.frames / 2, `it begins with ${frames[0]}`);
    await close(page);
  });
}

test("by the server's time, with all that is said beside it, the same frames come", async () => {
  const now = Date.now();
  const range = { StartTimestamp: new Date(now - 3600_000), EndTimestamp: new Date(now - 1000) };
  const selector = { FragmentSelectorType: "SERVER_TIMESTAMP", TimestampRange: range };
  for (const [protocol, more] of [["hls", {}], ["dash", { DisplayFragmentNumber: "ALWAYS" }]]) {
    const url = await session(protocol, clip.name, {
      PlaybackMode: "ON_DEMAND",
      DisplayFragmentTimestamp: "ALWAYS",
      ...selected(protocol, selector),
      ...more,
    });
    const page = await play(protocol, url);
    assertAscending(await page.evaluate(() => window.readFrames(40)), clip.frames);
    await close(page);
  }
});

/** The address of a session, as a program of AWS's gets it. */
async function session(protocol, stream, wanted) {
  const name = { StreamName: stream };
  const api = protocol === "hls" ? APIName.GET_HLS_STREAMING_SESSION_URL : APIName.GET_DASH_STREAMING_SESSION_URL;
  const { DataEndpoint } = await new KinesisVideoClient({}).send(new GetDataEndpointCommand({ ...name, APIName: api }));
  const archived = new KinesisVideoArchivedMediaClient({ endpoint: DataEndpoint });
  if (protocol === "hls") {
    return (await archived.send(new GetHLSStreamingSessionURLCommand({ ...name, ...wanted }))).HLSStreamingSessionURL;
  }
  return (await archived.send(new GetDASHStreamingSessionURLCommand({ ...name, ...wanted }))).DASHStreamingSessionURL;
}

/** How many pictures ffprobe finds, and what it complains of. */
async function probe(url) {
  const what = ["-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"];
  const { stdout, stderr } = await promisify(execFile)("ffprobe", ["-v", "warning", ...what, url], { timeout: 60_000 });
  return { pictures: Number.parseInt(stdout, 10), complaints: stderr };
}

function selected(protocol, selector) {
  return protocol === "hls" ? { HLSFragmentSelector: selector } : { DASHFragmentSelector: selector };
}

/** A page of another origin on which it plays. */
async function play(protocol, url) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") page.complaints.push(`console: ${message.text()}`);
  });
  await page.setContent("<video muted></video>");
  await page.evaluate(installBarCode);
  await page.evaluate(install);
  await page.addScriptTag({ content: readFileSync(require.resolve(PLAYERS[protocol]), "utf8") });
  await page.evaluate(([kind, address]) => window.startPlayer[kind](address), [protocol, url]);
  try {
    await page.waitForFunction(() => window.video.readyState >= 3 && window.video.currentTime > 0, undefined, { timeout: 40_000 });
  } catch (error) {
    const errors = JSON.stringify(await page.evaluate(() => window.playerErrors));
    throw new Error(`does not play: ${errors} ${page.complaints.join("; ")} ${error.message}`);
  }
  return page;
}

async function close(page) {
  assert.deepEqual(await page.evaluate(() => window.playerErrors), [], "the player met no error, fatal or not");
  assert.deepEqual(page.complaints, [], "the browser complains about nothing");
  await page.close();
}

// In the order in which they were shown. On a busy machine the browser passes over frames here.
function assertAscending(frames, count) {
  for (let i = 1; i < frames.length; i++) {
    const step = (frames[i] - frames[i - 1] + count) % count;
    // Half a clip ahead is behind: numbers count in a circle.
    assert.ok(step < count / 2, `frame ${frames[i]} came after ${frames[i - 1]} in ${frames.join(" ")}`);
  }
}

// Runs inside the page.
function install() {
  window.video = document.querySelector("video");
  window.playerErrors = [];

  window.startPlayer = {
    hls(url) {
      const hls = new window.Hls();
      hls.on(window.Hls.Events.ERROR, (_, { type, details, fatal, reason }) => {
        window.playerErrors.push({ type, details, fatal, reason });
      });
      hls.loadSource(url);
      hls.attachMedia(window.video);
      window.video.play();
    },
    async dash(url) {
      window.shaka.polyfill.installAll();
      const player = new window.shaka.Player();
      player.addEventListener("error", ({ detail }) => window.playerErrors.push({ code: detail.code, data: String(detail.data) }));
      await player.attach(window.video);
      await player.load(url);
      window.video.play();
    },
  };

  /** The numbers of so many frames as they are shown. */
  window.readFrames = (wanted) => {
    const frames = [];
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`only ${frames.length} frames were shown: ${frames}`)), 60_000);
      const shown = () => {
        const { number } = window.currentFrame(window.video);
        if (number !== frames.at(-1)) frames.push(number);
        if (frames.length < wanted) return window.video.requestVideoFrameCallback(shown);
        clearTimeout(timeout);
        resolve(frames);
      };
      window.video.requestVideoFrameCallback(shown);
    });
  };

  /** The frame that is shown at a time of the paused video: its number, and when it begins. */
  window.frameAt = (wanted) => {
    const { video } = window;
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`no frame was shown at ${wanted} s`)), 20_000);
      const frame = (_, { mediaTime }) => {
        if (mediaTime > wanted + 0.001 || mediaTime < wanted - 0.12) return video.requestVideoFrameCallback(frame);
        clearTimeout(timeout);
        resolve({ number: window.currentFrame(video).number, mediaTime });
      };
      video.requestVideoFrameCallback(frame);
      video.currentTime = wanted;
    });
  };
}

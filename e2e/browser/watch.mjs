// The watch page as a test sees it: what it shows, and which frames.
//
// Frame numbers are read from the bar code that every sample clip carries.
import { installBarCode } from "./bar-code.mjs";

/** Opens the watch page and keeps what the page and its players complain about. */
export async function open(browser, url) {
  const page = await browser.newPage({ viewport: { width: 1180, height: 720 } });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  await page.goto(url);
  await page.evaluate(installBarCode);
  await page.evaluate(install);
  return { page, complaints };
}

/** Chooses a stream in the list and waits until it plays live. */
export async function playLive({ page }, stream) {
  await page.click(`button.stream[data-stream="${stream}"]`, { timeout: 30_000 });
  await playing(page, "live");
}

/**
 * Plays from `date` on, as the form does (which counts seconds, in local time), and waits until it plays. Gives the
 * wall time in ms of the first frame that was shown once it did.
 */
export async function playPast({ page }, date) {
  await page.evaluate((millis) => {
    const input = document.getElementById("past-start");
    const local = new Date(millis - new Date(millis).getTimezoneOffset() * 60_000);
    input.removeAttribute("min");
    input.value = local.toISOString().slice(0, 19);
    document.getElementById("play-past").click();
    window.watchLanding();
  }, date.getTime());
  await playing(page, "past");
  const landed = await page.waitForFunction(() => window.landing, undefined, { timeout: 10_000 });
  return landed.jsonValue();
}

async function playing(page, mode) {
  const plays = (wanted) => {
    const { hls, video, session } = window.millrace;
    return session?.mode === wanted && hls?.playingDate && video.readyState >= 3 && !video.paused;
  };
  try {
    await page.waitForFunction(plays, mode, { timeout: 40_000 });
  } catch (error) {
    const shown = await page.evaluate(() => document.getElementById("error").textContent);
    throw new Error(`does not play (${mode}); the page says "${shown}"; ${error.message}`);
  }
}

/** Reads `count` frames as they are shown, each with its number, its wall time in ms and its media time in s. */
export async function readFrames({ page }, count) {
  return page.evaluate((wanted) => window.readFrames(wanted), count);
}

/**
 * Goes through `count` whole segments that follow each other frame by frame, in steps of half a frame with the player
 * paused, so that no frame is passed over however slow the machine is. Gives the numbers of each segment's frames, every
 * one once, and the segment's length in s. Plays on afterwards.
 */
export async function stepThrough({ page }, count, framesPerSecond) {
  return page.evaluate(([wanted, rate]) => window.stepThrough(wanted, rate), [count, framesPerSecond]);
}

/**
 * Pauses live video until the page would have taken it forward, had it played. Gives the position at the pause and at the
 * end, and where the stream's end lies then, in s.
 */
export async function pauseUntilLeftBehind({ page }) {
  const paused = await page.evaluate(() => {
    const { video } = window.millrace;
    video.pause();
    return video.currentTime;
  });
  // Twice as far as a live player may be behind: its playlist has been loaded again since.
  const leftBehind = (from) => {
    const { edge, targetduration } = window.millrace.hls.latestLevelDetails;
    return edge - from > 12 * targetduration && edge;
  };
  const edge = await page.waitForFunction(leftBehind, paused, { timeout: 60_000 });
  const later = await page.evaluate(() => window.millrace.video.currentTime);
  return { paused, later, edge: await edge.jsonValue() };
}

/** What the player knows about itself. */
export async function state({ page }) {
  return page.evaluate(() => ({
    error: document.getElementById("error").hidden ? "" : document.getElementById("error").textContent,
    audioBytes: window.millrace.video.webkitAudioDecodedByteCount,
    errors: window.playerErrors,
    segmentSeconds: Math.max(0, ...(window.millrace.hls?.latestLevelDetails?.fragments ?? []).map((f) => f.duration)),
  }));
}

/** How far `to` lies after `from`, in a clip of `frames` frames that is played in a loop. */
export function distance(from, to, frames) {
  return (((to - from) % frames) + frames) % frames;
}

// Runs inside the page.
function install() {
  // Every player of the page is listened to from its making on, and for all that it reports, fatal or not.
  window.playerErrors = [];
  window.Hls = class extends window.Hls {
    constructor(settings) {
      super(settings);
      this.on(window.Hls.Events.ERROR, (_, { type, details, fatal, reason }) => {
        window.playerErrors.push({ type, details, fatal, reason });
      });
    }
  };

  // In seconds: three frames of the clips, as between the last and the first frame of a looped clip.
  const LONGEST_FRAME = 0.12;

  // The wall time of a frame, by the date of the segment that it lies in.
  function dateOf(mediaTime) {
    const segments = window.millrace.hls?.latestLevelDetails?.fragments ?? [];
    // Half a millisecond: media times are rounded.
    const within = segments.find(({ start, end }) => start - 0.0005 <= mediaTime && mediaTime < end - 0.0005);
    return within ? within.programDateTime + (mediaTime - within.start) * 1000 : NaN;
  }

  window.watchLanding = () => {
    const { video } = window.millrace;
    window.landing = undefined;
    const played = () => video.requestVideoFrameCallback((_, { mediaTime }) => {
      window.landing = dateOf(mediaTime);
    });
    video.addEventListener("playing", played, { once: true });
  };

  window.readFrames = (wanted) => {
    const { video } = window.millrace;
    const frames = [];
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => {
        const numbers = frames.map((frame) => frame.number).join(" ");
        reject(new Error(`only ${frames.length} of ${wanted} frames were shown: ${numbers}`));
      }, 30_000 + wanted * 100);
      const shown = () => {
        const { number, mediaTime } = window.currentFrame(video);
        if (mediaTime !== frames.at(-1)?.mediaTime) frames.push({ number, date: dateOf(mediaTime), mediaTime });
        if (frames.length < wanted) return video.requestVideoFrameCallback(shown);
        clearTimeout(timeout);
        resolve(frames);
      };
      video.requestVideoFrameCallback(shown);
    });
  };

  window.stepThrough = async (wanted, rate) => {
    const { video } = window.millrace;
    const segments = await wholeSegments(wanted);
    video.pause();
    const read = [];
    for (const { start, end } of segments) {
      const numbers = [];
      for (let half = 0; start + (half + 0.5) / (2 * rate) < end; half++) {
        const number = await numberAt(start + (half + 0.5) / (2 * rate));
        if (number !== numbers.at(-1)) numbers.push(number);
      }
      read.push({ numbers, seconds: end - start });
    }
    await video.play();
    return read;
  };

  /** Waits for so many segments in a row, without a discontinuity between them, that are buffered as a whole. */
  async function wholeSegments(wanted) {
    const { hls, video } = window.millrace;
    const buffered = ({ start, end }) =>
      [...Array(video.buffered.length).keys()].some(
        // The ends of buffered ranges are rounded to the media's own time scale.
        (i) => video.buffered.start(i) <= start + 0.002 && end - 0.002 <= video.buffered.end(i),
      );
    for (let attempt = 0; attempt < 300; attempt++) {
      const whole = (hls.latestLevelDetails?.fragments ?? []).filter(buffered);
      const row = whole.slice(0, wanted);
      if (row.length === wanted && row.every((segment) => segment.cc === row[0].cc)) {
        return row.map(({ start, end }) => ({ start, end }));
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`there are no ${wanted} whole segments in the buffer`);
  }

  /** The frame that is shown at a time of the paused video. */
  async function numberAt(time) {
    const { video } = window.millrace;
    // The frame counts when the browser says that it shows it: after "seeked" the one before may still be there.
    const shown = new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`no frame was shown at ${time} s`)), 20_000);
      const frame = (_, { mediaTime }) => {
        if (mediaTime > time + 0.001 || mediaTime < time - LONGEST_FRAME) return video.requestVideoFrameCallback(frame);
        clearTimeout(timeout);
        resolve(window.currentFrame(video).number);
      };
      video.requestVideoFrameCallback(frame);
    });
    video.currentTime = time;
    return shown;
  }
}

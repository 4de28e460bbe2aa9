// The watch page as a test sees it: what it shows, and which frames.
//
// Frame numbers are read from the bar code that every sample clip carries (samples/README.md has its layout).

/** Opens the watch page and keeps what the page complains about. */
export async function open(browser, url) {
  const page = await browser.newPage({ viewport: { width: 1180, height: 720 } });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  await page.goto(url);
  await page.evaluate(installReader);
  return { page, complaints };
}

/** Chooses a stream in the list and waits until it plays live. */
export async function playLive({ page }, stream) {
  await page.click(`button.stream[data-stream="${stream}"]`, { timeout: 30_000 });
  await playing(page, "live");
}

/** Plays from `date` on, as the form does. The form counts seconds, in local time. */
export async function playPast({ page }, date) {
  await page.evaluate((millis) => {
    const input = document.getElementById("past-start");
    const local = new Date(millis - new Date(millis).getTimezoneOffset() * 60_000);
    input.removeAttribute("min");
    input.value = local.toISOString().slice(0, 19);
  }, date.getTime());
  await page.click("#play-past");
  await playing(page, "past");
}

async function playing(page, mode) {
  const plays = (wanted) => {
    const { hls, video, session } = window.millrace;
    window.watchForErrors(hls);
    return session?.mode === wanted && hls?.playingDate && video.readyState >= 3 && !video.paused;
  };
  try {
    await page.waitForFunction(plays, mode, { timeout: 40_000 });
  } catch (error) {
    const shown = await page.evaluate(() => document.getElementById("error").textContent);
    throw new Error(`does not play (${mode}); the page says "${shown}"; ${error.message}`);
  }
}

/**
 * Reads `count` frames as they are shown: number, wall time in ms, and how many frames the browser had shown before.
 * A `rate` below 1 gives a slow machine the time to show every one.
 */
export async function readFrames({ page }, count, rate = 1) {
  return page.evaluate(([wanted, speed]) => window.readFrames(wanted, speed), [count, rate]);
}

/** What the player knows about itself. */
export async function state({ page }) {
  return page.evaluate(() => ({
    error: document.getElementById("error").hidden ? "" : document.getElementById("error").textContent,
    audioBytes: window.millrace.video.webkitAudioDecodedByteCount,
    fatal: window.playerErrors.filter((error) => error.fatal),
    errors: window.playerErrors,
    segmentSeconds: Math.max(0, ...(window.millrace.hls?.latestLevelDetails?.fragments ?? []).map((f) => f.duration)),
  }));
}

/** How far `to` lies after `from`, in a clip of `frames` frames that is played in a loop. */
export function distance(from, to, frames) {
  return (((to - from) % frames) + frames) % frames;
}

// Runs inside the page.
function installReader() {
  window.playerErrors = [];
  const watched = new WeakSet();
  window.watchForErrors = (hls) => {
    if (!hls || watched.has(hls)) return;
    watched.add(hls);
    hls.on(Hls.Events.ERROR, (_, { type, details, fatal }) => window.playerErrors.push({ type, details, fatal }));
  };

  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const BLOCKS = 24;

  function frameNumber(video) {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    context.drawImage(video, 0, 0);
    const row = context.getImageData(0, Math.round((canvas.height * 12) / 180), canvas.width, 1).data;
    let number = 0;
    for (let block = 0; block < BLOCKS; block++) {
      const x = Math.floor(((2 * block + 1) * canvas.width) / (2 * BLOCKS));
      number = number * 2 + (row[4 * x + 1] > 127 ? 1 : 0);
    }
    return number;
  }

  window.readFrames = (wanted, speed) => {
    const { video } = window.millrace;
    video.playbackRate = speed;
    const frames = [];
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => {
        video.playbackRate = 1;
        const numbers = frames.map((frame) => frame.number).join(" ");
        reject(new Error(`only ${frames.length} of ${wanted} frames were shown: ${numbers}`));
      }, 30_000 + (wanted * 100) / speed);
      const shown = (_, { mediaTime, presentedFrames }) => {
        const { hls } = window.millrace;
        // The playing date belongs to currentTime; the frame shown is a little behind or ahead of that.
        const date = (hls?.playingDate?.getTime() ?? NaN) - (video.currentTime - mediaTime) * 1000;
        frames.push({ number: frameNumber(video), date, presented: presentedFrames, mediaTime });
        if (frames.length < wanted) return video.requestVideoFrameCallback(shown);
        clearTimeout(timeout);
        video.playbackRate = 1;
        resolve(frames);
      };
      video.requestVideoFrameCallback(shown);
    });
  };
}

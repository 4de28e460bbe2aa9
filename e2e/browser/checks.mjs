// What has to hold for every stream that is watched, here and in `make demo CHECK=1`: live and past, down to the
// single frame, and without a word of complaint from the player.
import assert from "node:assert/strict";
import { distance, open, playLive, playPast, readFrames, state, stepThrough } from "./watch.mjs";

/**
 * How far apart the same frame may be dated live and in the past. hls.js dates a segment from whichever of its tracks
 * begins first, and sound may begin up to one packet (1024 samples: 23.2 ms at 44.1 kHz) before or after the picture; which
 * it takes can differ between two playbacks. Still less than the time between two pictures.
 */
const DATE_SLACK_MS = 25;

/**
 * Watches one stream and fails with what is wrong. `stream` says its name, the number of frames of the clip that it
 * shows in a loop, its frames per second, and whether it has sound. `whenLive` is called while it plays live.
 */
export async function checkStream(browser, url, stream, whenLive = async () => {}) {
  const watched = await open(browser, url);

  await playLive(watched, stream.name);
  const live = await readFrames(watched, 60);
  assertAscending(live, stream, "live");
  await whenLive(watched);
  await assertNoneMissing(watched, stream, "live");
  await assertWell(watched, stream, "live");

  // Ask for a second that was seen live, so that its frames are known.
  const asked = new Date(Math.floor(live[0].date / 1000) * 1000);
  const landing = await playPast(watched, asked);
  const { segmentSeconds } = await state(watched);
  const off = Math.abs(landing - asked.getTime());
  assert.ok(off <= segmentSeconds * 1000, `the seek landed ${off} ms away; a fragment is ${segmentSeconds} s`);
  const past = await readFrames(watched, 40);
  assertAscending(past, stream, "past");
  assertSamePictures(live, past);
  await assertNoneMissing(watched, stream, "past");
  await assertWell(watched, stream, "past");

  await watched.page.close();
  return { live, past };
}

// In the order in which they were shown. On a busy machine the browser passes over frames here.
function assertAscending(frames, { frames: count }, where) {
  for (let i = 1; i < frames.length; i++) {
    const step = distance(frames[i - 1].number, frames[i].number, count);
    // Half a clip ahead is behind: numbers count in a circle.
    assert.ok(
      step > 0 && step < count / 2,
      `${where}: frame ${frames[i].number} came after ${frames[i - 1].number}`,
    );
  }
}

// Every frame of two segments, and of the seam between them, is there.
async function assertNoneMissing(watched, { frames: count, framesPerSecond }, where) {
  const segments = await stepThrough(watched, 2, framesPerSecond);
  // A segment may begin with its sound, up to a packet before its first picture: there the picture before is still shown.
  const isNew = (number, i, all) => i === 0 || number !== all[i - 1];
  const numbers = segments.flatMap((segment) => segment.numbers).filter(isNew);
  for (let i = 1; i < numbers.length; i++) {
    const step = distance(numbers[i - 1], numbers[i], count);
    assert.equal(step, 1, `${where}: frame ${numbers[i]} follows ${numbers[i - 1]} in ${numbers.join(" ")}`);
  }
  const expected = segments.reduce((sum, { seconds }) => sum + Math.floor(seconds * framesPerSecond), 0);
  assert.ok(numbers.length >= expected, `${where}: ${numbers.length} frames in two segments, not ${expected}`);
}

async function assertWell(watched, stream, where) {
  const { error, audioBytes, errors } = await state(watched);
  assert.equal(error, "", `${where}: the page shows no error`);
  assert.deepEqual(errors, [], `${where}: the player met no error, fatal or not`);
  assert.deepEqual(watched.complaints, [], `${where}: the browser complains about nothing`);
  if (stream.audio) assert.ok(audioBytes > 0, `${where}: sound is decoded`);
  else assert.equal(audioBytes, 0, `${where}: there is no sound where the camera has none`);
}

// A picture has the same wall time in both views.
function assertSamePictures(live, past) {
  const dates = new Map(live.map((frame) => [frame.number, frame.date]));
  const both = past.filter((frame) => dates.has(frame.number));
  for (const frame of both) {
    const apart = Math.abs(frame.date - dates.get(frame.number));
    assert.ok(apart <= DATE_SLACK_MS, `frame ${frame.number} is dated ${apart} ms apart in live and past`);
  }
  assert.ok(both.length > 0, "the past shows frames that were seen live");
}

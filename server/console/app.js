// The watch page: a list of streams, and a player for live video and for any time in the past.
//
// Stable ids, for tests and for those who script the page:
//   #streams            the list; each entry is a button.stream with data-stream (name) and data-live; cameras with a sub
//                       stream are one entry
//   #main-sub           switches between main and sub stream of a camera; its button says which would play
//   #video              the video element
//   #mode               "LIVE" or "PAST" (data-mode live|past) while something plays
//   #clock              wall time of the picture shown (datetime attribute: ISO 8601, UTC)
//   #error              what is wrong, in words; hidden when nothing is
//   #go-live            plays live
//   #back-1m #back-10m  play from one or ten minutes before the picture shown
//   #past-start         local date and time to play from;  #play-past starts it
//   #scrub              the same as a slider over all that is stored
//   #sound              turns sound on and off
//   #devices            the devices; each entry is a details.device with data-device (name) and data-connected
// window.millrace = { hls, video, session } gives the player in use.
"use strict";

const LIST_REFRESH_MS = 3000;
const DEVICES_REFRESH_MS = 5000;
const WORDS_MS = 15_000; // Why there is no picture stays so long; meanwhile the device's cameras are not shown anew.
const CLOCK_REFRESH_MS = 100;
const RETRY_MS = 2000;
// Live video that lies further behind the newest segment is taken forward to it.
const LIVE_LATENCY_SEGMENTS_MAX = 6;
const DAMAGE_MS = 250; // Between two pieces of damage that are found one after the other.
// How much of the past one playback session asks for; at its end the next one begins.
const PAST_MS = 3_600_000;
// hls.js is asked to recover from so many media errors in a row before the session is made anew.
const MEDIA_RECOVERIES_MAX = 2;

const element = (id) => document.getElementById(id);
const video = element("video");

// What plays: the stream's name, the mode ("live" or "past"), and for the past its start and end.
let session = null;
let hls = null;
let retry = 0;
let mediaRecoveries = 0;
let streams = new Map();
let scrubbing = false;

window.millrace = { get hls() { return hls; }, get session() { return session; }, video };

// --- The server ------------------------------------------------------------------------------------

class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await request(path, options, "The server can't be reached. Trying again…");
  return response.json().catch(() => ({}));
}

// What the server answers, if it is not in its own words why it doesn't.
async function request(path, options, unreachable) {
  let response;
  try {
    response = await fetch(path, options || {});
  } catch {
    throw new ServerError(0, "unreachable", unreachable);
  }
  if (response.status === 401) {
    location.reload(); // The login has expired: the server answers with the login page.
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ServerError(response.status, answer.error || "", answer.message || `The server answered ${response.status}.`);
  }
  return response;
}

// --- The list of streams ----------------------------------------------------------------------------

async function refreshStreams() {
  try {
    const answer = await ask("/api/streams");
    element("server-status").textContent = "";
    showStreams(answer.streams, Date.parse(answer.now));
  } catch (error) {
    element("server-status").textContent = error.message;
  }
  setTimeout(refreshStreams, LIST_REFRESH_MS);
}

function showStreams(list, now) {
  streams = new Map(list.map((stream) => [stream.name, stream]));
  element("no-streams").hidden = list.length > 0;
  const shown = element("streams");
  // A sub stream has no entry of its own where its main stream has one.
  const cameras = list.filter((stream) => !streams.has(mainOf(stream)));
  const names = new Set(cameras.map((stream) => stream.name));
  for (const item of [...shown.children]) {
    if (!names.has(item.firstChild.dataset.stream)) item.remove();
  }
  for (const stream of cameras) {
    const button = entryOf(shown, stream.name);
    button.dataset.live = String(stream.live);
    button.setAttribute("aria-current", String(isOf(stream.name, session?.stream)));
    const seen = button.querySelector(".seen");
    const text = seenText(stream, now);
    if (seen.textContent !== text) seen.textContent = text;
  }
  showExtent();
  showPair();
}

// The stream whose sub stream this is, unless that is itself a sub stream: a circle would hide all of it.
function mainOf(stream) {
  const main = streams.get(stream.sub_of);
  return main && main !== stream && !main.sub_of ? main.name : undefined;
}

// The other stream of the camera that plays: its main stream, or its first sub stream.
function otherOf(stream) {
  return mainOf(stream) || [...streams.values()].find((other) => mainOf(other) === stream.name)?.name;
}

// Whether the stream called `playing` belongs to the entry called `entry`.
function isOf(entry, playing) {
  const stream = streams.get(playing);
  return playing === entry || Boolean(stream && mainOf(stream) === entry);
}

function showPair() {
  const playing = streams.get(session?.stream);
  const other = playing && otherOf(playing);
  element("main-sub").hidden = !other;
  if (other) element("main-sub").textContent = mainOf(playing) ? "Main stream" : "Sub stream";
}

function entryOf(shown, name) {
  for (const item of shown.children) {
    if (item.firstChild.dataset.stream === name) return item.firstChild;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "stream";
  button.dataset.stream = name;
  for (const part of ["dot", "name", "seen"]) {
    const span = document.createElement("span");
    span.className = part;
    button.append(span);
  }
  button.querySelector(".name").textContent = name;
  button.addEventListener("click", () => play({ stream: name, mode: "live" }));
  const item = document.createElement("li");
  item.append(button);
  shown.append(item);
  return button;
}

function seenText(stream, now) {
  // The device did not know the time when it recorded this.
  const doubt = stream.clock === "unsynchronised" ? ", time not certain" : "";
  if (stream.live) return `live${doubt}`;
  if (!stream.last) return stream.connected ? "connected, no video yet" : "no video yet";
  const seconds = Math.max(0, Math.round((now - Date.parse(stream.last)) / 1000));
  return `last seen ${agoText(seconds)} ago${doubt}`;
}

function agoText(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${seconds} s`;
}

// --- The devices -------------------------------------------------------------------------------------

async function refreshDevices() {
  try {
    showDevices(await ask("/v1/devices"));
  } catch {
    // The list of streams says what is wrong.
  }
  setTimeout(refreshDevices, DEVICES_REFRESH_MS);
}

function showDevices(list) {
  const shown = element("devices");
  const names = new Set(list.map((device) => device.name));
  for (const item of [...shown.children]) {
    if (!names.has(item.firstChild.dataset.device)) item.remove();
  }
  for (const device of list) {
    const details = deviceEntry(shown, device.name);
    details.dataset.connected = String(device.connection !== "offline");
    details.querySelector(".seen").textContent = deviceText(device);
    // A picture that is being looked at stays, or waited for, or why there is none; and so does a range that is being written.
    if (!details.querySelector("img, output, form, button:disabled")) showCameras(details.querySelector("ul"), device);
  }
}

function deviceEntry(shown, name) {
  for (const item of shown.children) {
    if (item.firstChild.dataset.device === name) return item.firstChild;
  }
  const details = document.createElement("details");
  details.className = "device";
  details.dataset.device = name;
  const summary = document.createElement("summary");
  for (const part of ["dot", "name", "seen"]) {
    const span = document.createElement("span");
    span.className = part;
    summary.append(span);
  }
  summary.querySelector(".name").textContent = name;
  details.append(summary, document.createElement("ul"));
  const item = document.createElement("li");
  item.append(details);
  shown.append(item);
  return details;
}

function deviceText(device) {
  if (device.state !== "enrolled") return device.state;
  if (device.connection === "offline") {
    return device.last_seen ? `last seen ${new Date(device.last_seen).toLocaleString()}` : "never seen";
  }
  const status = device.status;
  if (!status) return "connected";
  const waits = device.oldest_unsent_seconds > 60 ? `, ${agoText(device.oldest_unsent_seconds)} behind` : "";
  const full = status.spool.stopped ? ", full: recording has stopped" : "";
  return `${status.cameras_up} of ${status.cameras_total} cameras${waits}${full}`;
}

function showCameras(shown, device) {
  const cameras = device.status?.cameras ?? [];
  shown.replaceChildren(...cameras.map((camera) => {
    const item = document.createElement("li");
    const rate = `${(camera.milli_fps / 1000).toFixed(1)} fps, ${Math.round(camera.bits_per_second / 1000)} kbit/s`;
    item.textContent = `${camera.stream}: ${camera.up ? rate : `down ${camera.last_failure}`} `;
    if (device.connection === "here" && camera.up) item.append(snapshotButton(item, device.name, camera.stream));
    if (device.connection === "here") item.append(" ", fetchButton(item, device.name, camera.stream));
    return item;
  }));
}

function snapshotButton(item, device, stream) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Snapshot";
  button.addEventListener("click", async () => {
    item.querySelectorAll("img, output").forEach((earlier) => earlier.remove());
    button.disabled = true;
    try {
      const image = await snapshot(device, stream);
      image.title = "Click to close";
      image.addEventListener("click", () => image.remove());
      item.append(image);
    } catch (error) {
      const why = document.createElement("output");
      why.textContent = error.message;
      item.append(why);
      setTimeout(() => why.remove(), WORDS_MS);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

// What the camera sees now, as an image.
async function snapshot(device, stream) {
  const path = ["v1", "devices", device, "cameras", stream, "snapshot"].map(encodeURIComponent).join("/");
  const response = await request(`/${path}?width=640`, {}, "The server can't be reached.");
  const reader = new FileReader();
  const read = new Promise((resolve) => reader.addEventListener("loadend", resolve));
  reader.readAsDataURL(await response.blob());
  await read;
  const image = document.createElement("img");
  image.alt = `What ${stream} sees`;
  image.src = reader.result;
  return image;
}

function fetchButton(item, device, stream) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Fetch…";
  button.title = "Have the device upload what it has recorded in a range of time";
  button.addEventListener("click", () => {
    if (!item.querySelector("form")) item.append(fetchForm(device, stream));
  });
  return button;
}

function fetchForm(device, stream) {
  const form = document.createElement("form");
  form.className = "buttons";
  const [from, to] = ["From", "To"].map((name) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "datetime-local", step: 1, required: true, title: name, ariaLabel: name });
    return input;
  });
  const [send, close] = [["submit", "Upload"], ["button", "Close"]].map(([type, text]) => {
    const button = document.createElement("button");
    Object.assign(button, { type, textContent: text });
    return button;
  });
  close.addEventListener("click", () => form.remove());
  const said = document.createElement("span");
  form.append(from, to, send, close, said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const path = ["v1", "devices", device, "cameras", stream, "fetch"].map(encodeURIComponent).join("/");
    try {
      const range = { from: new Date(from.value).toISOString(), to: new Date(to.value).toISOString() };
      const answer = await ask(`/${path}`, range);
      const seconds = (answer.milliseconds / 1000).toFixed(0);
      const more = answer.more ? " What is captured before the range ends follows." : "";
      const has = answer.fragments ? `${answer.fragments} fragments, ${seconds} s, are on their way.`
        : "The device has nothing whole in this range yet.";
      said.textContent = has + more;
    } catch (error) {
      said.textContent = error.message;
    }
  });
  return form;
}

// --- Playing ----------------------------------------------------------------------------------------

// Goes on with the other stream of the camera, at the time that is shown.
function switchPair() {
  const playing = streams.get(session?.stream);
  const other = playing && otherOf(playing);
  if (!other) return;
  const at = shownTime();
  if (session.mode === "live" || !at) return play({ stream: other, mode: "live" });
  play({ stream: other, mode: "past", start: at, end: Math.min(at + PAST_MS, Date.now()) });
}

function playLive() {
  if (session) play({ stream: session.stream, mode: "live" });
}

function playPast(start) {
  if (!session || Number.isNaN(start)) return;
  // The future and the last seconds are not there yet: that is what live is for.
  if (start > Date.now() - 2000) return playLive();
  play({ stream: session.stream, mode: "past", start, end: Math.min(start + PAST_MS, Date.now()) });
}

async function play(wanted) {
  stop();
  session = wanted;
  showSession();
  try {
    const body = { mode: wanted.mode };
    if (wanted.mode === "past") {
      body.start = new Date(wanted.start).toISOString();
      body.end = new Date(wanted.end).toISOString();
    }
    const answer = await ask(`/api/streams/${encodeURIComponent(wanted.stream)}/playback`, body);
    if (session !== wanted) return; // Another was chosen meanwhile.
    if (!(await playable(answer.url)) || session !== wanted) return;
    load(answer.url, wanted);
  } catch (error) {
    if (session === wanted) failed(error, wanted);
  }
}

function failed(error, wanted) {
  showError(error.message);
  const willCome = error.status === 0 || error.status >= 500 || (wanted.mode === "live" && error.status === 404);
  if (willCome) retry = setTimeout(() => play(wanted), RETRY_MS);
}

// Whether the browser has a decoder for the stream. If not, says so.
async function playable(url) {
  const answer = await fetch(url).catch(() => null);
  const codecs = answer?.ok && /CODECS="([^"]+)"/.exec(await answer.text())?.[1];
  const source = window.ManagedMediaSource || window.MediaSource;
  if (!codecs || !source || source.isTypeSupported(`video/mp4; codecs="${codecs}"`)) return true;
  const h265 = /hvc1|hev1/.test(codecs);
  showError(
    h265
      ? "This camera sends H.265, which this browser can't play. Use a browser with H.265 (Safari, or Chrome and Edge " +
          "on a machine that decodes it in hardware), or set the camera to H.264."
      : `This browser can't play this stream's coding (${codecs}).`,
  );
  return false;
}

function load(url, wanted) {
  if (!window.Hls || !Hls.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) {
      return showError("This browser can play neither HLS nor Media Source Extensions.");
    }
    video.src = url; // Safari on older iPhones plays HLS itself.
    return start();
  }
  hls = new Hls({
    liveSyncDurationCount: 2, // Two segments behind the newest: one plays while the next arrives.
    liveMaxLatencyDurationCount: LIVE_LATENCY_SEGMENTS_MAX,
    maxLiveSyncPlaybackRate: 1.1, // Catches up without an audible change.
    backBufferLength: 60,
    maxBufferLength: 30,
    startPosition: -1,
  });
  hls.on(Hls.Events.ERROR, (_, data) => playerFailed(data, wanted));
  hls.on(Hls.Events.FRAG_BUFFERED, () => {
    mediaRecoveries = 0;
    showError("");
  });
  hls.on(Hls.Events.BUFFER_CODECS, (_, tracks) => {
    element("sound").hidden = !(tracks.audio || /mp4a/.test(tracks.audiovideo?.codec || ""));
  });
  if (wanted.mode === "past") hls.once(Hls.Events.LEVEL_LOADED, (_, data) => seekTo(wanted.start, data.details));
  hls.loadSource(url);
  hls.attachMedia(video);
  start();
}

function start() {
  element("placeholder").hidden = true;
  // Muted video may start by itself everywhere; if not, the reason is the user's own setting.
  video.play().catch(() => {});
}

// The playlist of the past begins with the fragment that holds the wanted time: skip to the time itself.
function seekTo(start, details) {
  for (const segment of details.fragments) {
    const begin = segment.programDateTime;
    if (begin !== null && start < begin + segment.duration * 1000) {
      const offset = segment.start + Math.max(0, (start - begin) / 1000);
      if (offset > 0) video.addEventListener("loadedmetadata", () => { video.currentTime = offset; }, { once: true });
      return;
    }
  }
}

function playerFailed(data, wanted) {
  if (session !== wanted) return;
  // The server has just found out, and marks it as a gap in a playlist that is asked for now. The player would ask
  // for the same piece for half a minute before it gives up.
  if (problemOf(data)?.error === "damaged") {
    // Nothing of this range is whole: the next one follows.
    if (wanted.mode === "past" && !data.frag) return playPast(wanted.end);
    const again = wanted.mode === "past" ? { ...wanted, start: hls.playingDate?.getTime() ?? wanted.start } : wanted;
    clearTimeout(retry);
    retry = setTimeout(() => play(again), DAMAGE_MS);
    return;
  }
  if (!data.fatal) return;
  if (data.type === Hls.ErrorTypes.MEDIA_ERROR && mediaRecoveries < MEDIA_RECOVERIES_MAX) {
    mediaRecoveries += 1;
    return hls.recoverMediaError();
  }
  showError(playerMessage(data));
  retry = setTimeout(() => play(wanted), RETRY_MS);
}

// The server explains itself in JSON.
function problemOf(data) {
  try {
    return JSON.parse(new TextDecoder().decode(bytesOf(data.networkDetails)));
  } catch {
    return null;
  }
}

function bytesOf(request) {
  return request.responseType === "arraybuffer" ? request.response : new TextEncoder().encode(request.responseText);
}

function playerMessage(data) {
  const status = data.response?.code;
  if (status) return problemOf(data)?.message ?? `The server answered ${status}. Trying again…`;
  if (data.type === Hls.ErrorTypes.NETWORK_ERROR) return "The server can't be reached. Trying again…";
  return `The player stopped: ${data.details}. Trying again…`;
}

function stop() {
  clearTimeout(retry);
  hls?.destroy();
  hls = null;
  mediaRecoveries = 0;
  video.removeAttribute("src");
  video.load();
  showError("");
}

// The end of a past session is the beginning of the next, up to now.
video.addEventListener("ended", () => {
  if (session?.mode === "past") playPast(session.end);
});

// Whoever pauses wants to look at this picture: only what plays is brought back to the present.
video.addEventListener("pause", () => {
  if (hls) hls.config.liveMaxLatencyDurationCount = Infinity;
});
video.addEventListener("play", () => {
  if (hls) hls.config.liveMaxLatencyDurationCount = LIVE_LATENCY_SEGMENTS_MAX;
});

// --- What is shown ----------------------------------------------------------------------------------

function showSession() {
  element("controls").hidden = false;
  element("stream-name").textContent = session.stream;
  element("placeholder").hidden = false;
  element("placeholder").textContent = "Loading…";
  element("sound").hidden = true;
  element("mode").hidden = false;
  element("mode").dataset.mode = session.mode;
  element("mode").textContent = session.mode.toUpperCase();
  for (const button of document.querySelectorAll(".stream")) {
    button.setAttribute("aria-current", String(isOf(button.dataset.stream, session.stream)));
  }
  if (session.mode === "past") element("past-start").value = localText(session.start);
  showExtent();
  showPair();
}

function showError(text) {
  element("error").textContent = text;
  element("error").hidden = !text;
  if (text && !hls) element("placeholder").hidden = true;
}

// The time of the picture shown, in milliseconds, or null while there is none.
function shownTime() {
  const date = hls?.playingDate;
  return date && video.readyState >= 2 ? date.getTime() : null;
}

function showClock() {
  const shown = shownTime();
  const clock = element("clock");
  clock.dateTime = shown === null ? "" : new Date(shown).toISOString();
  const text = shown === null ? "" : new Date(shown).toLocaleString();
  if (clock.textContent !== text) clock.textContent = text;
  if (!scrubbing && shown !== null) element("scrub").value = shown;
  setTimeout(showClock, CLOCK_REFRESH_MS);
}

function showExtent() {
  const extent = session && streams.get(session.stream);
  const known = Boolean(extent?.first && extent?.last);
  element("scrub").disabled = !known;
  if (!known || scrubbing) return;
  const [first, last] = [Date.parse(extent.first), Date.parse(extent.last)];
  element("scrub").min = first;
  element("scrub").max = last;
  element("scrub-first").textContent = new Date(first).toLocaleString();
  element("scrub-last").textContent = extent.live ? "now" : new Date(last).toLocaleString();
  element("past-start").min = localText(first - (first % 1000));
}

// The local date and time as <input type=datetime-local> wants it.
function localText(millis) {
  const local = new Date(millis - new Date(millis).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

// --- Buttons ----------------------------------------------------------------------------------------

element("go-live").addEventListener("click", playLive);
element("main-sub").addEventListener("click", switchPair);
for (const [id, minutes] of [["back-1m", 1], ["back-10m", 10]]) {
  element(id).addEventListener("click", () => {
    const first = Number(element("scrub").min);
    playPast(Math.max((shownTime() ?? Date.now()) - minutes * 60_000, first));
  });
}
element("past-form").addEventListener("submit", (event) => {
  event.preventDefault();
  playPast(new Date(element("past-start").value).getTime());
});
element("scrub").addEventListener("input", () => {
  scrubbing = true;
  element("scrub-at").textContent = new Date(Number(element("scrub").value)).toLocaleString();
});
element("scrub").addEventListener("change", () => {
  scrubbing = false;
  element("scrub-at").textContent = "";
  playPast(Number(element("scrub").value));
});
element("sound").addEventListener("click", () => { video.muted = !video.muted; });
video.addEventListener("volumechange", () => {
  element("sound").textContent = video.muted ? "Sound on" : "Sound off";
  element("sound").setAttribute("aria-pressed", String(!video.muted));
});

refreshStreams();
refreshDevices();
showClock();

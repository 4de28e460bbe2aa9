// Reads the frame number from the bar code that every sample clip carries (samples/README.md has its layout).

/** Runs inside a page: gives it `currentFrame(video)`, the number and the media time of the frame that a video element shows. */
export function installBarCode() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const BLOCKS = 24;

  // The picture and its time in one: on a busy machine the element may show the next one already when it is told of one.
  window.currentFrame = (video) => {
    const frame = new VideoFrame(video);
    canvas.width = frame.displayWidth;
    canvas.height = frame.displayHeight;
    context.drawImage(frame, 0, 0);
    const mediaTime = frame.timestamp / 1e6;
    frame.close();
    return { number: numberOnCanvas(), mediaTime };
  };

  function numberOnCanvas() {
    const row = context.getImageData(0, Math.round((canvas.height * 12) / 180), canvas.width, 1).data;
    let number = 0;
    for (let block = 0; block < BLOCKS; block++) {
      const x = Math.floor(((2 * block + 1) * canvas.width) / (2 * BLOCKS));
      number = number * 2 + (row[4 * x + 1] > 127 ? 1 : 0);
    }
    return number;
  }
}

// A film or the camera: whenever the network is free, it takes the image that is shown at that moment.

import { Picture, checkSize, contextOf } from "./pictures.js";

export class Film {
  #video = document.createElement("video");
  #address = null;
  #canvas = document.createElement("canvas");
  #ended = false;

  // images: segmented so far. seconds: that this took, without pauses.
  images = 0;
  seconds = 0;

  constructor() {
    this.#video.muted = true;
    this.#video.playsInline = true;
  }

  // source: a file, or the stream of a camera. Throws an Error with a sentence.
  async open(source, most) {
    if (source instanceof Blob) {
      this.#address = URL.createObjectURL(source);
      this.#video.src = this.#address;
    } else this.#video.srcObject = source;
    await new Promise((resolve, reject) => {
      this.#video.onloadeddata = resolve;
      this.#video.onerror = () => reject(new Error("This browser cannot play it. H.264 (MP4) and WebM are played."));
    });
    checkSize(this.#video.videoHeight, this.#video.videoWidth, most);
    this.#video.onended = () => (this.#ended = true);
  }

  get paused() {
    return this.#video.paused;
  }

  get length() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : null;
  }

  async toggle() {
    if (this.#video.paused) await this.#video.play();
    else this.#video.pause();
  }

  // each: called with a Picture and the milliseconds that it took to decode it; the next comes when it is done.
  async play(each) {
    await this.#video.play();
    while (!this.#ended) {
      await this.#nextImage();
      if (this.#ended || this.#video.paused) continue;
      const began = performance.now();
      this.#canvas.width = this.#video.videoWidth;
      this.#canvas.height = this.#video.videoHeight;
      const context = contextOf(this.#canvas);
      context.drawImage(this.#video, 0, 0);
      const pixels = context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
      await each(new Picture(this.#canvas, null, pixels), performance.now() - began);
      this.images++;
      this.seconds += (performance.now() - began) / 1000;
    }
  }

  // A page in the background gets no images: then half a second is waited.
  #nextImage() {
    return new Promise((resolve) => {
      setTimeout(resolve, 500);
      if (this.#video.requestVideoFrameCallback) this.#video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
  }

  stop() {
    this.#ended = true;
    this.#video.pause();
    for (const track of this.#video.srcObject?.getTracks() ?? []) track.stop();
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    if (this.#address) URL.revokeObjectURL(this.#address);
  }
}

// Throws an Error with a sentence.
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("This address gives no camera: browsers want https, or localhost.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "environment" } });
  } catch (error) {
    if (error.name === "NotAllowedError") throw new Error("The camera was not allowed.");
    throw new Error("No camera was found, or another program has it.");
  }
}

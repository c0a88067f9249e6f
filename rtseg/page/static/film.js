// A film or the camera: whenever the network is free, it takes the image that is shown at that moment. Where that is
// less than ten images of each second of a film, the film is slowed.

import { Picture, checkSize, contextOf } from "./pictures.js";

const SEEN = 0.1; // seconds of a film from one image to the next
const SLOWEST = 1 / 16; // of its speed; browsers play no slower

const LOOKS = 300; // milliseconds

export class Film {
  #video = document.createElement("video");
  #address = null;
  #canvas = document.createElement("canvas");
  #ended = false;
  #fresh = true;
  #wake = null;
  #source = null; // a promise
  #giveUp; // ends the waiting for a first image
  #stopped = new Promise((_, reject) => (this.#giveUp = () => reject(new Error("It was stopped before it began."))));

  // images: segmented so far. seconds: that this took, without pauses.
  images = 0;
  seconds = 0;

  constructor() {
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#stopped.catch(() => {}); // where nothing waits
  }

  // source: a file, or a promise of the stream of a camera. Throws an Error with a sentence.
  async open(source, most) {
    this.#source = Promise.resolve(source);
    const given = await Promise.race([this.#source, this.#stopped]); // a visitor may let the camera's question stand
    if (given instanceof Blob) {
      this.#address = URL.createObjectURL(given);
      this.#video.src = this.#address;
    } else {
      this.#video.srcObject = given;
      for (const track of given.getTracks()) track.onended = () => (this.#ended = true); // a camera that is unplugged
    }
    const loaded = new Promise((resolve, reject) => {
      this.#video.onloadeddata = resolve;
      this.#video.onerror = () => reject(new Error("This browser cannot play it. H.264 (MP4) and WebM are played."));
    });
    await Promise.race([loaded, this.#stopped]);
    checkSize(this.#video.videoHeight, this.#video.videoWidth, most);
    this.#video.onended = () => (this.#ended = true);
  }

  get paused() {
    return this.#video.paused;
  }

  async toggle() {
    if (this.#video.paused) await this.#video.play();
    else this.#video.pause();
  }

  // Of the film's own speed, 0 to 1.
  get speed() {
    return this.#video.playbackRate;
  }

  // each: called with a Picture and the milliseconds that it took to decode it; the next comes when it is done.
  // counted: called behind it, when `images` and `seconds` know of it.
  async play(each, counted) {
    try {
      await this.#video.play();
    } catch {
      if (!this.#ended) throw new Error("This browser does not start it.");
    }
    this.#watch();
    while (!this.#ended) {
      await this.#nextImage();
      if (this.#ended || !this.#fresh) continue;
      this.#fresh = false;
      const began = performance.now();
      this.#canvas.width = this.#video.videoWidth;
      this.#canvas.height = this.#video.videoHeight;
      const context = contextOf(this.#canvas);
      context.drawImage(this.#video, 0, 0);
      const pixels = context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
      await each(new Picture(this.#canvas, null, pixels), performance.now() - began);
      const seconds = (performance.now() - began) / 1000;
      this.images++;
      this.seconds += seconds;
      if (this.#address) this.#slow(seconds);
      counted();
    }
  }

  #slow(seconds) {
    const speed = Math.min(1, Math.max(SLOWEST, SEEN / seconds));
    if (Math.abs(speed / this.#video.playbackRate - 1) > 0.2) this.#video.playbackRate = speed;
  }

  // Each image that is shown is fresh until it is taken. A page in the background is shown none.
  #watch() {
    const next = this.#video.requestVideoFrameCallback?.bind(this.#video) ?? requestAnimationFrame;
    const shown = () => {
      this.#fresh = true;
      this.#wake?.();
      if (!this.#ended) next(shown);
    };
    next(shown);
  }

  #nextImage() {
    if (this.#fresh) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, LOOKS); // whether it has ended
    });
  }

  stop() {
    this.#ended = true;
    this.#giveUp();
    this.#video.pause();
    const close = (given) => given.getTracks?.().forEach((track) => track.stop());
    this.#source?.then(close, () => {}); // also a camera that is allowed later
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
    if (error.name === "NotAllowedError") throw new Error("The camera was not allowed: allow it beside the page's address, or give an image.");
    throw new Error("No camera was found, or another program has it.");
  }
}

// Pictures for the model: of the camera, or of a screen, as JPEG and no larger than models look at.

const MOST_SIDE = 1024; // pixels
const QUALITY = 0.85; // small print is still read

/** What a video shows just now, as a URL of data. */
function picture(video) {
  const { videoWidth: width, videoHeight: height } = video;
  const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", QUALITY);
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** A picture of the screen, window or tab that the user chooses. */
export async function ofScreen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: true });
  try {
    const video = document.createElement("video");
    video.srcObject = stream;
    await video.play();
    return picture(video);
  } finally {
    stop(stream);
  }
}

/** The camera, in a dialog of a video and two buttons: to take a picture, and to leave. */
export class Camera {
  #dialog;
  #video;
  #take;
  #taken = null;

  constructor(dialog) {
    this.#dialog = dialog;
    this.#video = dialog.querySelector("video");
    const [take, leave] = dialog.querySelectorAll("button");
    this.#take = take;
    take.addEventListener("click", () => {
      this.#taken = picture(this.#video);
      dialog.close();
    });
    leave.addEventListener("click", () => dialog.close());
  }

  /** A picture; null where the user takes none. */
  async take() {
    const wanted = { facingMode: "environment", width: { ideal: 1280 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    this.#taken = null;
    this.#take.disabled = true;
    const closed = new Promise((done) =>
      this.#dialog.addEventListener("close", done, { once: true }),
    );
    try {
      this.#dialog.showModal();
      this.#video.srcObject = stream;
      await this.#video.play();
      this.#take.disabled = false;
      this.#take.focus();
      await closed;
    } catch (error) {
      if (error.name !== "AbortError") throw error; // the user was faster than the camera
    } finally {
      this.#dialog.close();
      stop(stream);
      this.#video.srcObject = null;
    }
    return this.#taken;
  }
}

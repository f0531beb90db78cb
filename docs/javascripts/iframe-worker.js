// Search from the disk: browsers start no Worker from file://. An iframe that loads the same script takes its place.
// The theme's own stand-in would come from another host. "iframe-worker" in this file's name tells the theme so.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.ready = new Promise(loaded => {
        const frame = document.createElement("iframe");
        frame.hidden = true;
        frame.onload = () => loaded(frame.contentWindow);
        frame.srcdoc =
          "<script>postMessage = data => parent.dispatchEvent(new MessageEvent('worker-answer', {data}))</script>" +
          `<script src="${new URL(url, location.href)}"></script>`;
        document.body.append(frame);
      });
      addEventListener("worker-answer", event => {
        this.dispatchEvent(new MessageEvent("message", {data: event.data}));
      });
    }
    postMessage(data) {
      this.ready.then(worker => worker.dispatchEvent(new MessageEvent("message", {data})));
    }
    terminate() {}
  };
}

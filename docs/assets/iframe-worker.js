/* A page that is opened as a file may not start a worker. Where that is so, a hidden frame takes its place, so that the
   search works without a server. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      const address = new URL(url, document.baseURI).href.replaceAll("&", "&amp;").replaceAll('"', "&quot;")
      this.frame.srcdoc =
        "<script>self.postMessage = (data) => parent.postMessage(data, '*')</script>" +
        `<script src="${address}"></script>`
      this.ready = new Promise((resolve) => this.frame.addEventListener("load", resolve))
      window.addEventListener("message", (event) => {
        if (event.source !== this.frame.contentWindow) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      document.body.append(this.frame)
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}

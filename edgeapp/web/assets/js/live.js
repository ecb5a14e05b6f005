// The live view: one WebSocket, opened again when it breaks; the newest state of each topic, and pictures as they come.

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 4000;

export function live(path, { onState, onPicture, onStatus }) {
  let socket = null;
  let wanted = [];
  let pause = FIRST_PAUSE_MS;
  let closed = false;
  let timer = 0;

  function open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}${path}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      pause = FIRST_PAUSE_MS;
      if (wanted.length) say({ want: wanted });
      onStatus(true);
    };
    socket.onmessage = (message) => (typeof message.data === "string" ? onState(JSON.parse(message.data)) : picture(message.data));
    socket.onclose = (why) => {
      onStatus(false, why.reason);
      if (closed) return;
      timer = setTimeout(open, pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    };
  }

  async function picture(data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    try {
      await onPicture?.(header, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    } finally {
      say({ got: 1 }); // the next one may come: a slow screen is not sent more than it shows
    }
  }

  function say(value) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(value));
  }

  open();
  return {
    say,
    want(topics) {
      wanted = topics;
      say({ want: wanted });
    },
    close() {
      closed = true;
      clearTimeout(timer);
      socket.close();
    },
  };
}

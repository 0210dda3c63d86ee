// Keeps a page live: the server says that something changed, and htmx asks for the page again.
(() => {
  const POLL_MS = 10_000
  const REOPEN_MS = 30_000
  const PAUSED = 'outbox-live-paused'

  const place = document.getElementById('live')
  if (!place || !window.EventSource) return
  const words = place.querySelector('.live-words')
  const button = place.querySelector('button')
  let source = null
  let polling = null
  let reopening = null

  const isPaused = () => sessionStorage.getItem(PAUSED) === 'yes'
  const refresh = () => document.body.dispatchEvent(new Event('changed'))

  function say(state, text) {
    place.dataset.state = state
    if (words.textContent !== text) words.textContent = text
    button.textContent = isPaused() ? 'Resume updates' : 'Pause updates'
  }

  function poll() {
    polling ??= setInterval(refresh, POLL_MS)
    say('polling', 'Every 10 s')
  }

  function stopPolling() {
    clearInterval(polling)
    polling = null
  }

  function open() {
    clearTimeout(reopening)
    if (source || isPaused() || document.hidden) return
    source = new EventSource(place.dataset.address)
    source.addEventListener('hello', () => {
      stopPolling()
      say('live', 'Live')
    })
    source.addEventListener('changed', refresh)
    source.addEventListener('error', () => {
      poll()
      // The server answered with an error, so the browser does not try again by itself.
      if (source?.readyState === EventSource.CLOSED) {
        source = null
        reopening = setTimeout(open, REOPEN_MS)
      }
    })
  }

  function close() {
    clearTimeout(reopening)
    stopPolling()
    source?.close()
    source = null
  }

  button.hidden = false
  button.addEventListener('click', () => {
    sessionStorage.setItem(PAUSED, isPaused() ? 'no' : 'yes')
    if (isPaused()) {
      close()
      say('paused', 'Paused')
    } else {
      refresh()
      poll()
      open()
    }
  })
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      close()
    } else if (!isPaused()) {
      refresh()
      open()
    }
  })
  window.addEventListener('pagehide', close)

  if (isPaused()) {
    say('paused', 'Paused')
  } else {
    // Until the first event shows that streams come through.
    poll()
    open()
  }
})()

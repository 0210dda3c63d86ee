// Shows times in the zone of the browser. The server writes UTC, which stays on hover.
(() => {
  const sameYear = new Intl.DateTimeFormat(undefined, {
    month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit',
  })
  const otherYear = new Intl.DateTimeFormat(undefined, {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit',
  })

  function show(time) {
    const at = new Date(time.dateTime)
    if (Number.isNaN(at.getTime())) return
    const format = at.getFullYear() === new Date().getFullYear() ? sameYear : otherYear
    const words = format.format(at)
    if (time.textContent !== words) time.textContent = words
  }

  function showAll() {
    document.querySelectorAll('time[data-local]').forEach(show)
  }

  // A swap brings times of the server again. An observer runs before they are painted.
  showAll()
  new MutationObserver(showAll).observe(document.body, { childList: true, subtree: true, characterData: true })
})()

// Shows times in the zone of the browser, and tells the server that zone. The server writes UTC, which stays on hover.
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

  // Screens with figures by day cut the days in this zone.
  const root = document.querySelector('.brand')?.pathname ?? '/'
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (zone) document.cookie = `outbox_zone=${zone}; path=${root}; max-age=31536000; samesite=lax`

  // A swap brings times of the server again. An observer runs before they are painted.
  showAll()
  new MutationObserver(showAll).observe(document.body, { childList: true, subtree: true, characterData: true })
})()

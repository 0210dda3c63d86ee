// Times in forms are of the browser's zone. Without this script they are UTC, as their labels then say.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (!zone) return
  const two = (number) => String(number).padStart(2, '0')

  document.querySelectorAll('[data-zone]').forEach((field) => { field.value = zone })
  document.querySelectorAll('.zone-name').forEach((place) => { place.textContent = zone })
  document.querySelectorAll('[data-local-field]').forEach((field) => {
    const at = new Date(`${field.value}Z`)
    if (!field.value || Number.isNaN(at.getTime())) return
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
    field.value = `${day}T${two(at.getHours())}:${two(at.getMinutes())}`
  })
})()

// Vonage's own packages send to the simulator and verify its webhooks. Prints what they saw as JSON.
import { createRequire } from 'node:module'

const load = createRequire(process.env.NODE_PACKAGES)
const { Messages, SMS, MMSImage } = load('@vonage/messages')
const { Auth } = load('@vonage/auth')
const { verifySignature } = load('@vonage/jwt')
const { API_HOST, APPLICATION_ID, PRIVATE_KEY, TOKENS, SECRET } = process.env
const [to, from] = ['12025550123', '12025550100']

const auth = new Auth({ applicationId: APPLICATION_ID, privateKey: PRIVATE_KEY })
const messages = new Messages(auth, { apiHost: API_HOST })
const text = await messages.send(new SMS({ to, from, text: 'Hello', clientRef: 'dispatch-1' }))
const picture = await messages.send(new MMSImage({ to, from, image: { url: 'https://example.com/a.png', caption: 'See' } }))
const refused = await messages.send(new SMS({ to: '+1', from, text: 'Hello' })).catch((error) => error.response.status)

console.log(
  JSON.stringify({
    sent: [text.messageUUID, picture.messageUUID],
    refused,
    verified: JSON.parse(TOKENS).map((token) => verifySignature(token, SECRET)),
    forged: verifySignature(JSON.parse(TOKENS)[0], 'another secret of the same length'),
  }),
)

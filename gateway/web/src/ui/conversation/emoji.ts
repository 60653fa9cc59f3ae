// The built-in emoji of the picker, with the words they are found by.
type Entry = readonly [emoji: string, name: string];

function entries(text: string): Entry[] {
  return text.trim().split("\n").map((line) => {
    const [emoji = "", ...words] = line.trim().split(" ");
    return [emoji, words.join(" ")] as const;
  });
}

export const EMOJI_GROUPS: readonly { readonly name: string; readonly emoji: readonly Entry[] }[] = [
  {
    name: "Often used",
    emoji: entries(`
      👍 thumbs up yes
      👎 thumbs down no
      ❤️ red heart love
      😂 tears of joy laugh
      🎉 party popper celebrate
      👀 eyes looking
      🚀 rocket ship it
      ✅ check mark done
      🙏 folded hands thanks
      🔥 fire hot
      💯 hundred points
      👏 clapping hands
      🤔 thinking face
      😮 open mouth wow
      😢 crying sad
      👋 waving hand hello`),
  },
  {
    name: "Faces",
    emoji: entries(`
      😀 grinning happy
      😄 smiling eyes
      😅 sweat smile
      🤣 rolling laughing
      🙂 slight smile
      🙃 upside down
      😉 wink
      😊 blush
      😍 heart eyes
      😘 blowing kiss
      😋 yum tasty
      😎 sunglasses cool
      🤓 nerd
      🥳 partying face
      😏 smirk
      😐 neutral
      🙄 rolling eyes
      😬 grimace
      😴 sleeping tired
      🤯 mind blown exploding head
      😳 flushed
      🥺 pleading
      😭 loudly crying
      😡 angry
      😱 scream
      🤗 hugging
      🤨 raised eyebrow
      🤷 shrug
      🤦 facepalm
      🫡 salute
      🫠 melting
      🤖 robot`),
  },
  {
    name: "Hands and people",
    emoji: entries(`
      👌 ok hand
      ✌️ victory peace
      🤞 crossed fingers luck
      🤝 handshake deal
      💪 strong muscle
      🙌 raised hands hooray
      ☝️ pointing up
      👆 up
      👇 down
      👉 right
      👈 left
      ✍️ writing
      🫶 heart hands
      🧠 brain
      👑 crown
      💅 nail polish`),
  },
  {
    name: "Nature and food",
    emoji: entries(`
      🐛 bug caterpillar
      🦀 crab
      🐍 snake
      🐧 penguin
      🐙 octopus
      🦊 fox
      🐱 cat
      🐶 dog
      🌱 seedling
      🌳 tree
      🌈 rainbow
      ⭐ star
      🌙 moon
      ☀️ sun
      ❄️ snow
      ⚡ lightning fast
      ☕ coffee
      🍵 tea
      🍺 beer
      🍕 pizza
      🍰 cake
      🍎 apple
      🌶️ pepper
      🍿 popcorn`),
  },
  {
    name: "Things and signs",
    emoji: entries(`
      💡 idea bulb
      🔧 wrench fix
      🛠️ tools
      📌 pin
      📎 clip
      📝 memo note
      📅 calendar
      📈 chart up
      📉 chart down
      📦 package
      🔒 locked
      🔑 key
      💻 laptop
      🎧 headphones
      🎵 music
      🎮 game
      🏆 trophy
      🎯 target
      ⏰ alarm clock
      ⏳ waiting hourglass
      ❌ cross no
      ❓ question
      ❗ exclamation
      ⚠️ warning
      ➕ plus
      ♻️ recycle
      💔 broken heart
      💚 green heart
      💙 blue heart
      💜 purple heart
      🖤 black heart
      🏁 finish`),
  },
];

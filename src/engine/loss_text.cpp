#include "engine/loss_text.h"

namespace gogrid {

std::string_view loss_text() {
  return R"(The lighthouse at the end of the harbour wall has not been lit for thirty years, but on clear evenings people still walk out to it. They carry tea in flasks and talk about the weather, the price of diesel, and whose boat came in late. Nobody asks why they come. The wall is long enough for one good conversation, and the tower at its end gives everybody a reason to turn round.

Marta was nine when her grandfather showed her how the lamp used to work. A small flame, he said, is enough if everything around it is made to help. The lens was taller than she was: rings of glass, each cut at its own angle, so that light which would have been lost in the rafters or in the floor was bent until it went out to sea. "It does not make more light," he told her. "It only wastes less." She thought about that sentence for a long time, and when she became an engineer she wrote it on the first page of every notebook.

There are two ways to make a machine do more. The first is to give it more: more fuel, more iron, more hours. The second is to look for what it does in vain. The first is easy to explain and costs money every year. The second takes patience, because waste hides well; it looks like habit. A pump that runs all night because somebody once forgot a valve, a lorry that drives home empty, a program that asks the same question a thousand times and is surprised each time by the answer.

"Did you measure it?" asked the foreman.

"Twice," said Marta. "Once before the change and once after it. The second time with the windows closed, because the wind had spoiled the first."

"And?"

"Eleven per cent less on the meter. I had hoped for fifteen. Four of those were in my head."

He laughed, and signed the paper. Later he would say that he trusted her because of the four, not because of the eleven.

To bake a plain loaf you need 500 grams of flour, 350 grams of water, 10 grams of salt and 5 grams of dry yeast. Mix the flour with the water and let it stand for half an hour. Add the salt and the yeast, and fold the dough over itself every twenty minutes, four times. Cover the bowl and leave it in a cool place until the morning. Heat the oven to 240 degrees with an iron pot inside. Put the dough into the hot pot, close the lid, and bake it for 30 minutes; then take the lid off and bake it for 15 more, until the crust is dark brown. Let it cool on a rack before you cut it, however good it smells.

The following function counts how often each word occurs in a text. It is written in Python, and it is not the shortest way to do it, but it is easy to read:

def count_words(text):
    counts = {}
    for line in text.splitlines():
        for word in line.lower().split():
            word = word.strip(".,;:!?")
            if word:
                counts[word] = counts.get(word, 0) + 1
    return counts

If you call it with an empty string, the result is an empty dictionary. If you call it with "To be, or not to be", the result has four entries: "to" and "be" occur twice, "or" and "not" once.

In 1769 a clockmaker in the north of England finished a watch that lost less than a second in a month. It had taken him six years. When he was asked how he had found the error of the last few seconds, he answered that he had stopped looking at the watch and begun to look at the room: at the stove, the door, and the cat that slept on the shelf when it was cold. The warmth of the animal had moved the balance spring. He built a second shelf for the cat, and wrote the temperature of the room beside every reading from then on.

Most rivers begin as something nobody would call a river. There is a meadow that never quite dries, a line of rushes, a ditch which a child could jump. Water that falls on one side of a ridge goes to one sea, and water that falls a step away goes to another, and for the first hour neither of them seems to know it. A hydrologist needs three things to say how much will arrive at the mouth: how much fell, how much the ground kept, and how much went back into the air. The first is measured with a funnel and a glass. The other two are mostly a matter of bookkeeping over many years, which is why old records are worth more than new instruments.

What should be done when two measurements disagree? First, do not throw either of them away. Write down when, where and with what each was made. Then ask what would have to be true for both to be right. Often something was different that nobody thought worth a note: another day, another hand, a scale that had been moved from the cellar to the first floor. Only when no such reason can be found is one of them wrong, and even then it is wise to keep the number and to mark it, since the next disagreement may look just like it.

On the last evening of the summer they walked out to the lighthouse together, the old man and the engineer. The sea was flat and grey, and far out a ship was waiting for the tide. He had brought the tea. She had brought a small lamp that ran on a battery, no larger than a thumb, and when it was dark they set it behind the great lens and switched it on. For a moment nothing happened. Then, a mile away, the white side of the ship lit up, faintly, as if somebody over there had opened a door.
)";
}

}  // namespace gogrid

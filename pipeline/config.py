"""Every setting: its default, unit, bounds and reason.

Settings come from, first to last: a command-line flag, the environment (`CASCADE_STT__MODEL`),
`cascade.toml` (`[stt] model = …`), the default below. `cascade config` prints them all as a
commented `cascade.toml`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "CASCADE_"
ENV_DELIMITER = "__"

INSTRUCTIONS = "You are a helpful voice assistant. Answer in one short sentence."
"""Short, because small models follow little, and because it is read before the first turn."""


PACES: dict[str, dict[str, int]] = {
    "eager": {"shortest_ms": 256, "hold_ms": 350, "longest_ms": 1000},
    "balanced": {},
    "patient": {"shortest_ms": 500, "hold_ms": 900, "longest_ms": 3000},
}
"""What `--turns` sets in `Turns`: how soon silence ends a turn. Balanced are the defaults."""


class Section(BaseModel):
    """A table of `cascade.toml`; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Audio(Section):
    """Microphone and speaker."""

    input_device: str = Field("", description="Input device by name or number; empty: the system's")
    output_device: str = Field("", description="Output device by name or number; empty: as above")
    latency_ms: float = Field(
        20.0,
        ge=5,
        le=500,
        description="Device buffer to ask for; below 20 ms cheap sound cards start to crackle",
    )
    echo: Literal["auto", "cancel", "half-duplex", "off"] = Field(
        "auto",
        description="Against hearing itself: cancel (needs voice-cascade[echo]), half-duplex (deaf "
        "while it speaks), off (headphones); auto: the first that can be had, none with files",
    )


class Vad(Section):
    """Voice activity: which 32 ms windows hold speech."""

    judge: Literal["silero", "webrtc"] = Field(
        "silero", description="Who decides; silero survives noise, webrtc needs no model"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability above which speech begins")
    release: float = Field(
        0.35, gt=0, lt=1, description="Probability below which it ends; lower, so that it holds"
    )
    gate_mode: int = Field(
        1, ge=0, le=3, description="webrtcvad as the gate; above 1 it stays shut on quiet speech"
    )
    webrtc_mode: int = Field(
        2, ge=0, le=3, description="webrtcvad as the judge; 2: least stuck and fewest gaps"
    )
    gate_hold_ms: int = Field(
        600, ge=100, le=10_000, description="The gate stays open this long after its last voice"
    )


class Turns(Section):
    """When the user's turn begins and ends, and what interrupts a reply."""

    start_ms: int = Field(
        160,
        ge=32,
        le=1000,
        description="Voiced time that begins a turn; shorter is a click, or half a cough. Of 54 "
        "single words of people none is shorter",
    )
    preroll_ms: int = Field(
        300, ge=0, le=2000, description="Audio kept from before the first voiced window"
    )
    provisional_ms: int = Field(
        64,
        ge=32,
        le=2000,
        description="Silence after which the melody is heard and the answer begun, to be thrown "
        "away if speech resumes; longer silence changes the words of 1 utterance in 50",
    )
    shortest_ms: int = Field(
        320, ge=64, le=5000, description="Silence that ends a turn which surely is finished"
    )
    hold_ms: int = Field(
        500,
        ge=64,
        le=5000,
        description="Silence that ends a turn of which nothing is known; most pauses are shorter",
    )
    longest_ms: int = Field(
        2000, ge=64, le=10_000, description="Silence that ends a turn which plainly is unfinished"
    )
    predict: bool = Field(
        True,
        description="Whether words and melody move the hold between shortest_ms and longest_ms",
    )
    endpoint_model: str = Field(
        "smart-turn-v3.2",
        description="Hears whether a turn is over, if it is downloaded; empty: none",
    )
    adapt: bool = Field(
        True, description="Whether hold_ms follows the pauses of who speaks, by half of it at most"
    )
    attempts: int = Field(
        8,
        ge=0,
        le=100,
        description="Answers begun before the end of one turn is certain; 0: no speculation",
    )
    tail_ms: int = Field(
        400,
        ge=0,
        le=1000,
        description="Silence after the last voice that the recogniser gets: "
        "with 200 the embedded one makes twice the errors",
    )
    max_turn_s: float = Field(
        30.0, ge=1, le=30, description="A longer turn is cut here: Whisper's window is 30 s"
    )
    duck_ms: int = Field(
        32, ge=32, le=1000, description="Voiced time that ducks a reply: what is false does no harm"
    )
    word_ms: int = Field(
        224, ge=32, le=3000, description="Voiced time after which a word in it interrupts a reply"
    )
    barge_in_ms: int = Field(
        2000,
        ge=32,
        le=5000,
        description="Voiced time that interrupts a reply without a known word; "
        "coughs, mm-hm and most laughter are shorter",
    )
    swell_ms: int = Field(
        300, ge=32, le=3000, description="Silence after which a ducked reply is loud again"
    )
    idle_s: float = Field(
        0.0, ge=0, le=3600, description="Silence after which the assistant speaks first; 0: never"
    )
    idle_text: str = Field("Are you still there?", description="What it says then")
    idle_times: int = Field(2, ge=1, le=100, description="So often, until the user speaks again")


class Stt(Section):
    """Speech to text: faster-whisper."""

    model: str = Field(
        "tiny.en", description="Name in the catalogue or path of a CTranslate2 folder"
    )
    language: str = Field(
        "", description="Code such as en; empty: the model's, or detected once and then kept"
    )
    compute_type: str = Field(
        "int8", description="CTranslate2 arithmetic; half the time of float32"
    )
    threads: int = Field(
        1, ge=1, le=64, description="More do not help short windows and starve the other stages"
    )
    beam_size: int = Field(1, ge=1, le=10, description="1 is greedy: a third less time than 5")
    window: Literal["auto", "own", "padded", "full"] = Field(
        "auto",
        description="Encoder input: the utterance's own length, padded to window_s, or 30 s; "
        "auto: own where the model was trained for it, else padded",
    )
    window_s: float = Field(
        8.0, ge=1, le=30, description="Padded length; encoded silence fills the rest"
    )
    max_compression: float = Field(
        2.4, gt=1, description="Text that compresses better repeats itself: decoded again at 30 s"
    )
    partial_ms: int = Field(
        600, ge=0, le=10_000, description="Time between transcripts while the user speaks; 0: none"
    )
    min_voiced_ms: int = Field(
        100, ge=0, le=2000, description="Less voiced time than this is not sent to the recogniser"
    )
    no_speech: float = Field(
        0.55, gt=0, le=1, description="Dropped when no-speech is above this and log_prob is below"
    )
    log_prob: float = Field(-1.0, lt=0, description="Mean log-probability per token; see no_speech")


class Llm(Section):
    """The language model, behind any OpenAI-compatible server."""

    model: str = Field(
        "embedded",
        description="embedded | path of a .gguf | http(s) URL | ollama:NAME | openai:NAME",
    )
    name: str = Field("", description="Model to ask a URL for; empty: the first one it lists")
    api_key: str = Field(
        "", description="Key for a URL; empty: OPENAI_API_KEY for openai:NAME, none otherwise"
    )
    instructions: str = Field(INSTRUCTIONS, description="The system prompt")
    temperature: float = Field(
        0.0, ge=0, le=2, description="0: the likeliest words; small models ramble above it"
    )
    max_tokens: int = Field(200, ge=1, le=8192, description="About 75 s of speech")
    sentences: int = Field(
        3,
        ge=0,
        le=1000,
        description="The embedded model is stopped after so many, for it rambles; 0: never",
    )
    context_tokens: int = Field(
        2048, ge=256, le=1_000_000, description="The server's context; embedded: what is reserved"
    )
    repeat_penalty: float = Field(
        1.1, ge=1, le=2, description="Embedded; without it small models fall into loops"
    )
    threads: int = Field(
        0, ge=0, le=256, description="Embedded; 0: one on two cores, else all but two"
    )
    batch: int = Field(
        64, ge=8, le=4096, description="Embedded; small, because a cancel waits for the batch"
    )
    connect_timeout_s: float = Field(5.0, gt=0, le=120, description="To reach the server")
    first_token_timeout_s: float = Field(30.0, gt=0, le=600, description="From request to token")
    token_timeout_s: float = Field(10.0, gt=0, le=600, description="From one token to the next")


class Tts(Section):
    """Text to speech: Piper."""

    voice: str = Field("en_US-joe-medium", description="Name of a Piper voice or path of its .onnx")
    speed: float = Field(1.0, ge=0.25, le=4, description="1.2 speaks a fifth faster")
    volume: float = Field(1.0, gt=0, le=4, description="Factor on the samples")
    threads: int = Field(1, ge=1, le=64, description="Two spinning threads cost 1.8 times the CPU")
    stream: bool = Field(
        True, description="Split VITS voices at the vocoder so that audio flows inside a clause"
    )
    stream_frames: int = Field(
        20, ge=4, le=1000, description="Vocoder frames per piece: 20 are 0.23 s at 22.05 kHz"
    )
    context_frames: int = Field(
        10, ge=0, le=100, description="Frames of context on each side; 10 are exact"
    )


class Reply(Section):
    """How stages overlap within one reply."""

    mode: Literal["speculative", "overlapped", "sequential"] = Field(
        "speculative",
        description="speculative begins before the turn is surely over; overlapped after it; "
        "sequential waits for each stage to finish: the textbook cascade",
    )
    first_words: int = Field(3, ge=1, le=50, description="Words that the first clause needs")
    first_deadline_ms: int = Field(
        30, ge=0, le=5000, description="After the first token: speak what there is, at a word gap"
    )
    max_clause_chars: int = Field(240, ge=20, le=2000, description="Longest clause")
    lead_in_ms: int = Field(
        10, ge=0, le=1000, description="Silence kept before a reply's first sound: voices bring 90"
    )
    comfort_s: float = Field(
        1.5, ge=0, le=30, description="With more audio than this in hand clauses grow to sentences"
    )
    lead_s: float = Field(
        4.0, ge=0.5, le=60, description="Audio made ahead of what is heard; the rest waits"
    )


class Conversation(Section):
    """What the model is reminded of."""

    budget_tokens: int = Field(
        1000, ge=64, le=1_000_000, description="Prompt size above which old turns are dropped"
    )
    retention: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the budget kept when dropping: seldom and much, so that the "
        "server's prefix cache survives",
    )
    tool_rounds: int = Field(
        5, ge=1, le=20, description="How often a reply may wait for tools before it fails"
    )
    tool_chars: int = Field(
        1500, ge=100, le=1_000_000, description="Longest tool result; the rest is cut off"
    )


class Models(Section):
    """Where models live."""

    dir: str = Field("", description="Folder for downloads; empty: the checkout's, or the user's")


class Settings(BaseSettings):
    """All settings of a run, checked and frozen."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        extra="forbid",
        frozen=True,
    )

    audio: Audio = Audio()
    vad: Vad = Vad()
    turns: Turns = Turns()
    stt: Stt = Stt()
    llm: Llm = Llm()
    tts: Tts = Tts()
    reply: Reply = Reply()
    conversation: Conversation = Conversation()
    models: Models = Models()

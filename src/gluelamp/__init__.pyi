"""The types of the public names, which `gluelamp/__init__.py` imports lazily."""

from gluelamp.api import measure as measure
from gluelamp.api import method as method
from gluelamp.api import results as results
from gluelamp.api import train as train
from gluelamp.api import trained as trained
from gluelamp.errors import InputError as InputError
from gluelamp.exporting import export as export
from gluelamp.methods.adamix import AdaMix as AdaMix
from gluelamp.methods.adaptation import Adaptation as Adaptation
from gluelamp.methods.adapter_bias import AdapterBias as AdapterBias
from gluelamp.methods.base import Method as Method
from gluelamp.methods.bitfit import BitFit as BitFit
from gluelamp.methods.compacter import Compacter as Compacter
from gluelamp.methods.diff_pruning import DiffPruning as DiffPruning
from gluelamp.methods.dyt import DyT as DyT
from gluelamp.methods.ether import Ether as Ether
from gluelamp.methods.ffn_bias import FeedForwardBias as FeedForwardBias
from gluelamp.methods.fish import Fish as Fish
from gluelamp.methods.full import FullFineTuning as FullFineTuning
from gluelamp.methods.hadamard import Hadamard as Hadamard
from gluelamp.methods.head_only import HeadOnly as HeadOnly
from gluelamp.methods.hiwi import HiWi as HiWi
from gluelamp.methods.houlsby import Houlsby as Houlsby
from gluelamp.methods.ia3 import IA3 as IA3
from gluelamp.methods.layer_norm import LayerNormTuning as LayerNormTuning
from gluelamp.methods.lora import LoRA as LoRA
from gluelamp.methods.loretta import LorettaAdp as LorettaAdp
from gluelamp.methods.loretta import LorettaRep as LorettaRep
from gluelamp.methods.lt_sft import LtSft as LtSft
from gluelamp.methods.mam import MAM as MAM
from gluelamp.methods.pafi import PaFi as PaFi
from gluelamp.methods.parallel import Parallel as Parallel
from gluelamp.methods.peft import Peft as Peft
from gluelamp.methods.pfeiffer import Pfeiffer as Pfeiffer
from gluelamp.methods.pha import PHA as PHA
from gluelamp.methods.prefix import Prefix as Prefix
from gluelamp.methods.prompt import Prompt as Prompt
from gluelamp.methods.selection import Selection as Selection
from gluelamp.methods.spt import Spt as Spt
from gluelamp.methods.storage import Summary as Summary
from gluelamp.methods.storage import read_selection as read_selection
from gluelamp.methods.xpeft import XPeft as XPeft
from gluelamp.reporting.compare import compare as compare

__version__: str
FISH = Fish
LTSFT = LtSft
XPEFT = XPeft

def methods() -> dict[str, type[Method]]: ...

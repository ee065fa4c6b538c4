from rpaccel.perfmodel.interaction import interaction_cycles
from rpaccel.perfmodel.layer_engine import layer_cycles
from rpaccel.perfmodel.sequencer import busy_cycles, program_cycles, unit_cycles
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import INSTRUCTION, Op

EDGE = load_accelerator("edge")


def instruction(**values):
    return INSTRUCTION.unpack(INSTRUCTION.pack(values))


LAYER = instruction(op=Op.LAYER, user_words=1, words=2, n_folds=2)
INTERACT = instruction(op=Op.INTERACT, vector_words=1, user_vectors=2, item_vectors=3)


def test_empty_program_takes_transfer_and_release():
    assert program_cycles(EDGE, [], items=128) == 2


def test_program_is_the_sum_of_its_units():
    layer = layer_cycles(EDGE, 64, 3, 2)
    dots = interaction_cycles(EDGE, 64, 6, 1)
    assert program_cycles(EDGE, [LAYER, INTERACT, LAYER], 64) == 2 + 3 * 3 + 2 * layer + dots
    assert unit_cycles(EDGE, [LAYER, INTERACT, LAYER], 64) == {
        "array": 2 * layer,
        "interaction": dots,
    }


def test_unknown_opcode_takes_no_unit():
    assert busy_cycles(EDGE, instruction(op=Op.END), 64) == 0

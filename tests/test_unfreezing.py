import pytest
from test_backbones import spec
from test_every_backbone import SMALLEST

from sktransfer import BackboneError
from sktransfer._networks.frozen import load
from sktransfer._training.unfreezing import depths_of


def facts_of(name):
    size = (SMALLEST.get(name, 32),) * 2
    return load(spec(name, weights=None, input_size=size)).facts


def named(position, facts):
    return facts["layers"][position]["name"]


@pytest.mark.parametrize(
    ("backbone", "unfreeze", "first", "cut"),
    [
        ("tiny", 1, "block3_conv2", "block3_conv1"),
        ("tiny", "block3", "block3_conv1", "block2_pool"),
        ("tiny", 6, "block1_conv1", "input"),
        ("tiny", "all", "block1_conv1", "input"),
        ("tiny", 1.0, "block1_conv1", "input"),
        ("tiny", 0.5, "block2_conv2", "block2_conv1"),
        ("vgg16", 3, "block5_conv1", "block4_pool"),
        ("vgg16", "block5", "block5_conv1", "block4_pool"),
        ("vgg16", "block4_conv3", "block4_conv3", "block4_conv2"),
        ("mobilenet", 3, "conv_pw_12", "conv_dw_12_relu"),
        ("mobilenet_v2", "block_15", "block_15_expand", "block_14_add"),
        ("resnet50", "conv5_block3", "conv5_block3_1_conv", "conv5_block2_out"),
        ("resnet50", 1, "conv5_block3_3_conv", "conv5_block2_out"),
        ("inception_v3", 3, "conv2d_92", "mixed9"),
        ("xception", "block14", "block14_sepconv1", "add_11"),
    ],
)
def test_first_trainable_layer_and_the_cut_below_it(backbone, unfreeze, first, cut):
    facts = facts_of(backbone)
    head, (position, below) = depths_of(unfreeze, facts)
    assert head == (None, facts["output"])
    assert named(position, facts) == first
    assert named(below, facts) == cut


def test_nothing_and_several_stages():
    facts = facts_of("tiny")
    assert len(depths_of(0, facts)) == len(depths_of(0.0, facts)) == 1
    _, *stages = depths_of((1, "block2", 2), facts)
    assert [named(first, facts) for first, _ in stages] == [
        "block3_conv2",
        "block2_conv1",
        "block3_conv1",
    ]
    # The last stage is cut where the one before began, or its training would be lost.
    assert [named(cut, facts) for _, cut in stages] == [
        "block3_conv1",
        "block1_pool",
        "block1_pool",
    ]


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (7, "6 layers with kernels"),
        (-1, "6 layers with kernels"),
        (1.5, "fraction"),
        (True, "neither"),
        ("block33", "nearest: 'block3"),
        ((1, "block9"), "block9"),
    ],
)
def test_what_names_no_layer_is_refused(unfreeze, message):
    with pytest.raises(BackboneError, match=message):
        depths_of(unfreeze, facts_of("tiny"))

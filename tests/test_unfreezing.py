import pytest
from infos import stored_info

from sktransfer import BackboneError
from sktransfer._training.unfreezing import depths_of


def named(positions, info):
    return [info.layers[position].name for position in positions]


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
    info = stored_info(backbone)
    head, depth = depths_of(unfreeze, info)
    assert head.first_trainable is None
    assert head.cut == info.cut_at(None)
    assert named([depth.first_trainable, depth.cut.position], info) == [first, cut]
    assert depth.cut.pooling is None


def test_nothing_and_several_stages():
    info = stored_info("tiny")
    assert len(depths_of(0, info)) == len(depths_of(0.0, info)) == 1
    _, *stages = depths_of((1, "block2", 2), info)
    assert named([stage.first_trainable for stage in stages], info) == [
        "block3_conv2",
        "block2_conv1",
        "block3_conv1",
    ]
    # The last stage is cut where the one before began, or its training would be lost.
    assert named([stage.cut.position for stage in stages], info) == [
        "block3_conv1",
        "block1_pool",
        "block1_pool",
    ]


@pytest.mark.parametrize("backbone", ["tiny", "mobilenet", "resnet50"])
def test_the_ladder_is_half_of_the_network_then_all_of_it(backbone):
    info = stored_info(backbone)
    head, half, whole = depths_of("auto", info)
    assert [head, half] == depths_of(0.5, info)
    assert whole.first_trainable == 1
    assert whole.cut.position == 0  # pixels, which no cache keeps


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
        depths_of(unfreeze, stored_info("tiny"))

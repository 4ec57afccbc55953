"""Models of torchvision, timm, transformers and diffusers, with random weights and as small as can be configured."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .case import Made, Zoo

packages = Zoo()


@cache
def torchvision() -> Any:
    """The package. Where its compiled operators do not load, two are declared, without which it does not import."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
        return importlib.import_module("torchvision")


KEPT: list[Any] = []
"""A library's declarations last as long as it."""


def vision(name: str, size: int = 64, **options: Any) -> Made:
    """A classifier of torchvision."""
    return getattr(torchvision().models, name)(weights=None, **options), torch.randn(2, 3, size, size)


def images(name: str, size: int = 64, **options: Any) -> Made:
    """A classifier of timm."""
    torchvision()
    return importlib.import_module("timm").create_model(name, pretrained=False, num_classes=10, **options), torch.randn(
        2, 3, size, size
    )


def hugging(config: str, model: str, inputs: dict[str, Tensor], **options: Any) -> Made:
    """A model of transformers and its inputs, with eager attention unless said otherwise."""
    with suppress(ImportError):
        torchvision()  # transformers takes it for whole where it is installed
    library = importlib.import_module("transformers")
    return getattr(library, model)(getattr(library, config)(**options)), inputs


class Only(nn.Module):
    """A model of which some outputs are wanted: sizes of others would be as fixed as theirs.

    Args:
        net: gives outputs by name.
        names: of those that are wanted.
    """

    def __init__(self, net: nn.Module, *names: str) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = {"decoder_input_ids": decoder_input_ids, "pixel_values": pixel_values}
        given = {name: tensor for name, tensor in given.items() if tensor is not None}
        out = self.net(input_ids=input_ids, attention_mask=attention_mask, **given)
        return {name: out[name] for name in self.names}


def only(made: Made, *names: str) -> Made:
    """See :class:`Only`."""
    return Only(made[0], *names), made[1]


def words(length: int = 12, batch: int = 2, size: int = 100) -> Tensor:
    """Numbers of words; no special ones."""
    return torch.randint(5, size, (batch, length))


TEXT = {"vocab_size": 100, "max_position_embeddings": 32}
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
NO_MARKS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

# -- torchvision -----------------------------------------------------------------------------------------------


@packages(14, "conv1.weight:0", "conv1.weight:2", "layer*.*.conv1.weight:0", "fc.weight:1", skips=("layer*.1",))
def resnet18() -> Made:
    return vision("resnet18")


@packages(30, "conv1.weight:0", "layer*.*.conv[12].weight:0", "fc.weight:1", skips=("layer*.1", "layer*.2"))
def resnet50() -> Made:
    return vision("resnet50")


@packages(30, "layer*.*.conv[12].weight:0", "fc.weight:1", skips=("layer*.1", "layer*.2"))
def wide_resnet50_2() -> Made:
    return vision("wide_resnet50_2")


@packages(20, "layer*.*.conv2.weight:0", "fc.weight:1", skips=("layer*.1", "layer*.2"))
def resnext50_32x4d() -> Made:
    return vision("resnext50_32x4d")


@packages(25, "stem.0.weight:0", "*.f.b.0.weight:0", "*.block[234]*.f.se.fc1.weight:0", "fc.weight:1",
          skips=("trunk_output.*.*-2",))  # fmt: skip
def regnet_y_400mf() -> Made:
    return vision("regnet_y_400mf")


@packages(24, "features.0.0.weight:0", "features.*.conv.1.0.weight:0", "classifier.1.weight:1")
def mobilenet_v2() -> Made:
    return vision("mobilenet_v2")


@packages(30, "features.0.0.weight:0", "features.4.block.1.0.weight:2", "features.[4-9].block.2.fc1.weight:0",
          "classifier.0.weight:0")  # fmt: skip
def mobilenet_v3_small() -> Made:
    return vision("mobilenet_v3_small")


@packages(40, "features.0.0.weight:0", "features.*.block.1.0.weight:0", "features.3.0.block.1.0.weight:2",
          skips=("features.2.1", "features.3.1"))  # fmt: skip
def efficientnet_b0() -> Made:
    return vision("efficientnet_b0")


@packages(16, "conv1.0.weight:0", "stage*.*.branch2.0.weight:0", "fc.weight:1", skips=())
def shufflenet_v2_x0_5() -> Made:
    return vision("shufflenet_v2_x0_5")


@packages(100, "features.conv0.weight:0", "features.denseblock*.denselayer*.conv[12].weight:0", "classifier.weight:1")
def densenet121() -> Made:
    return vision("densenet121")


@packages(20, "features.*.squeeze.weight:0", "features.*.expand3x3.weight:0")
def squeezenet1_1() -> Made:
    return vision("squeezenet1_1")


@packages(50, "inception*.branch?.0.conv.weight:0", "fc.weight:1")
def googlenet() -> Made:
    return vision("googlenet", aux_logits=False, init_weights=False)


@packages(60, "Mixed_5b.branch*.conv.weight:0", "fc.weight:1")
def inception_v3() -> Made:
    return vision("inception_v3", 96, aux_logits=False, init_weights=False)


@packages(40, "features.0.0.weight:0", "features.*.block.3.weight:0", "features.1.0.block.0.weight:2",
          skips=("features.1.[12]", "features.3.[12]", "features.5.[1-8]"))  # fmt: skip
def convnext_tiny() -> Made:
    return vision("convnext_tiny")


@packages(5, "conv_proj.weight:0", "encoder.layers.*.mlp.0.weight:0",
          "encoder.layers.*.self_attention.in_proj_weight:0",
          skips=("encoder.layers.encoder_layer_[123]",))  # fmt: skip
def vit() -> Made:
    """torchvision's transformer; as ``vit_b_16``, smaller."""
    net = torchvision().models.VisionTransformer(32, 8, 4, 4, 64, 128, num_classes=10)
    return net, torch.randn(2, 3, 32, 32)


@packages(12, "features.0.0.weight:0", "features.*.mlp.0.weight:0", "features.*.attn.qkv.weight:0",
          "features.*.attn.relative_position_bias_table:1", skips=("features.3.1",))  # fmt: skip
def swin_t() -> Made:
    swin = torchvision().models.swin_transformer.SwinTransformer
    return swin([4, 4], 24, [2, 2, 2], [3, 6, 12], [4, 4], num_classes=10), torch.randn(2, 3, 64, 64)


@packages(12, "stem.0.0.weight:0", "blocks.*.layers.MBconv.layers.conv_b.0.weight:0",
          "*.window_attention.mlp_layer.1.weight:0")  # fmt: skip
def maxvit() -> Made:
    net = torchvision().models.MaxVit((56, 56), 32, 7, [32, 64], [1, 2], 16, 0.0, num_classes=10)
    return net, torch.randn(2, 3, 56, 56)


@packages(30, "backbone.conv1.weight:0", "classifier.0.convs.*.0.weight:0", "classifier.4.weight:1",
          skips=("backbone.layer3.1",))  # fmt: skip
def deeplabv3() -> Made:
    return torchvision().models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=3
    ), torch.randn(2, 3, 64, 64)


@packages(30, "backbone.0.0.weight:0", "classifier.cbr.0.weight:0", "classifier.scale.1.weight:1")
def lraspp() -> Made:
    return torchvision().models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    ), torch.randn(2, 3, 64, 64)


@packages(18, "body.conv1.weight:0", "body.layer*.*.conv1.weight:0", "fpn.inner_blocks.*.0.weight:0",
          skips=("body.layer*.1",))  # fmt: skip
def pyramid() -> Made:
    """The backbone of torchvision's detectors: four outputs of one width, by name."""
    module = torchvision().models.detection.backbone_utils.resnet_fpn_backbone
    return module(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d), torch.randn(2, 3, 64, 64)


# -- timm ------------------------------------------------------------------------------------------------------


@packages(10, "patch_embed.proj.weight:0", "blocks.*.mlp.fc1.weight:0", "blocks.*.attn.qkv.weight:0",
          skips=("blocks.[123]",))  # fmt: skip
def timm_vit() -> Made:
    return images("vit_tiny_patch16_224", 64, img_size=64, depth=4)


@packages(8, "stem.proj.weight:0", "blocks.*.mlp_channels.fc1.weight:0", "blocks.*.mlp_tokens.fc1.weight:0",
          skips=("blocks.[12]",))  # fmt: skip
def timm_mixer() -> Made:
    torchvision()
    net = importlib.import_module("timm.models.mlp_mixer").MlpMixer(10, 64, patch_size=16, num_blocks=3, embed_dim=64)
    return net, torch.randn(2, 3, 64, 64)


@packages(30, "conv_stem.weight:0", "blocks.*.conv_dw.weight:0", "blocks.2.0.conv_dw.weight:2", "classifier.weight:1",
          skips=("blocks.1.1",))  # fmt: skip
def timm_mobilenetv3() -> Made:
    return images("mobilenetv3_small_100")


@packages(15, "stem.0.weight:0", "stages.*.mlp.fc1.weight:0", skips=("stages.*.blocks.1",))
def timm_convnext() -> Made:
    return images("convnext_atto")


@packages(14, "conv1.weight:0", "layer*.*.conv1.weight:0", "fc.weight:1", skips=("layer*.1",))
def timm_resnet18() -> Made:
    return images("resnet18")


@packages(40, "conv_stem.weight:0", "blocks.*.conv_dw.weight:0", "classifier.weight:1", skips=("blocks.[12345].1",))
def timm_efficientnet() -> Made:
    return images("efficientnet_b0")


@packages(20, "stem.conv1.linear.weight:0", "stages.*.mlp.ln1.linear.weight:0", "head.linear.weight:1",
          skips=("stages.[12].blocks.[12]",),
          rigid={"stages.*.attn": "the network does not run when *.attn.width* is cut: *",
                 "stages.*.attn.qkv.bn": "the network does not run when *.attn.width* is cut: *"})  # fmt: skip
def timm_levit() -> Made:
    """Keeps its table of relative positions, in evaluation, from one call to the next, outside its tensors: a table of
    all heads meets fewer heads, so none can be cut. All else is."""
    return images("levit_128s", 224)


@packages(12, "stem.conv.weight:0", "stages.*.mlp.fc1.weight:0", skips=("stages.*.blocks.1",))
def timm_poolformer() -> Made:
    return images("poolformer_s12", 64)


@packages(20, "stem.conv1.weight:0", "stages.*.conv2_kxk.weight:0", "stages.*.mlp.fc1.weight:0")
def timm_coatnet() -> Made:
    return images("coatnet_pico_rw_224", 64, img_size=64)


@packages(20, "blocks.[3-8].0.ghost1.primary_conv.0.weight:0", "classifier.weight:1")
def timm_ghostnet() -> Made:
    return images("ghostnet_100", 64)


@packages(20, "stem.conv.weight:0", "stages.*.conv.weight:0")
def timm_mobilevit() -> Made:
    return images("mobilevit_xxs", 64)


@packages(5, "stem.conv_kxk.conv.weight:0", "stages.*.conv_kxk.conv.weight:0", "head.fc.weight:1")
def timm_repvgg() -> Made:
    return images("repvgg_a0", 64)


# -- transformers ----------------------------------------------------------------------------------------------


@packages(8, "bert.embeddings.word_embeddings.weight:1", "bert.encoder.layer.*.intermediate.dense.weight:0",
          "bert.encoder.layer.*.attention.self.query.weight:0", "bert.encoder.layer.*.attention.output.dense.weight:1",
          "bert.pooler.dense.weight:0", skips=("bert.encoder.layer.[12]",))  # fmt: skip
def bert() -> Made:
    inputs = {"input_ids": words(), "attention_mask": torch.tensor([[1] * 12, [1] * 9 + [0] * 3])}
    return hugging("BertConfig", "BertForSequenceClassification", inputs, **SMALL, **TEXT)


@packages(7, "distilbert.transformer.layer.*.ffn.lin1.weight:0", "distilbert.embeddings.word_embeddings.weight:1",
          "distilbert.transformer.layer.*.attention.q_lin.weight:0",
          skips=("distilbert.transformer.layer.[12]",))  # fmt: skip
def distilbert() -> Made:
    options = {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 96, **TEXT}
    return hugging("DistilBertConfig", "DistilBertForSequenceClassification", {"input_ids": words()}, **options)


@packages(8, "roberta.embeddings.word_embeddings.weight:1", "roberta.encoder.layer.*.intermediate.dense.weight:0",
          "roberta.encoder.layer.*.attention.self.key.weight:0", skips=("roberta.encoder.layer.[12]",))  # fmt: skip
def roberta() -> Made:
    return hugging("RobertaConfig", "RobertaForMaskedLM", {"input_ids": words()}, **SMALL, **TEXT)


@packages(8, "transformer.wte.weight:1", "transformer.h.*.mlp.c_fc.weight:1", "transformer.h.*.attn.c_attn.weight:1",
          skips=("transformer.h.[12]",))  # fmt: skip
def gpt2() -> Made:
    options = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 32, "vocab_size": 100, "use_cache": False}
    return hugging("GPT2Config", "GPT2LMHeadModel", {"input_ids": words()}, **options, **NO_MARKS)


DECODER = (
    "model.embed_tokens.weight:1", "model.layers.*.mlp.up_proj.weight:0", "model.layers.*.mlp.down_proj.weight:1",
    "model.layers.*.self_attn.[qkv]_proj.weight:0", "model.layers.*.self_attn.o_proj.weight:1", "model.norm.weight:0",
)  # fmt: skip
"""What decoders of the kind of Llama have."""


def decoder(kind: str, **options: Any) -> Made:
    """A decoder of the kind of Llama: grouped queries, gated layers, rotary positions."""
    options = {**SMALL, **TEXT, "num_key_value_heads": 2, "head_dim": 16, "use_cache": False, **NO_MARKS, **options}
    return hugging(f"{kind}Config", f"{kind}ForCausalLM", {"input_ids": words()}, **options)


@packages(8, *DECODER, skips=("model.layers.[12]",))
def llama() -> Made:
    return decoder("Llama")


@packages(8, *DECODER, skips=("model.layers.[12]",))
def mistral() -> Made:
    return decoder("Mistral", sliding_window=8)


@packages(8, *DECODER, skips=("model.layers.[12]",))
def qwen2() -> Made:
    return decoder("Qwen2")


@packages(8, *DECODER, skips=("model.layers.[12]",))
def qwen3() -> Made:
    return decoder("Qwen3", tie_word_embeddings=True)


@packages(8, *DECODER, skips=("model.layers.[12]",))
def gemma() -> Made:
    return decoder("Gemma")


@packages(8, *DECODER, skips=("model.layers.[12]",))
def gemma2() -> Made:
    return decoder("Gemma2", sliding_window=8, query_pre_attn_scalar=16)


@packages(5, "model.embed_tokens.weight:1", "model.layers.*.mlp.gate_up_proj.weight:0", skips=("model.layers.[12]",))
def phi3() -> Made:
    """Queries, keys and values in one weight, cut at places that the configuration says: heads stay."""
    return decoder("Phi3")


@packages(4, "gpt_neox.embed_in.weight:1", "gpt_neox.layers.*.mlp.dense_h_to_4h.weight:0",
          "gpt_neox.layers.*.attention.query_key_value.weight:0", skips=("gpt_neox.layers.[12]",))  # fmt: skip
def gpt_neox() -> Made:
    inputs = {"input_ids": words()}
    return hugging("GPTNeoXConfig", "GPTNeoXForCausalLM", inputs, **SMALL, **TEXT, **NO_MARKS, use_cache=False)


@packages(8, "model.embed_tokens.weight:1", "model.layers.*.self_attn.q_proj.weight:0",
          "model.layers.*.mlp.experts.down_proj:2", skips=("model.layers.[12]",))  # fmt: skip
def mixtral() -> Made:
    """A mixture of experts."""
    return decoder("Mixtral", num_local_experts=4, num_experts_per_tok=2)


@packages(3, "backbone.embeddings.weight:1", "backbone.layers.*.mixer.in_proj.weight:0",
          "backbone.layers.*.mixer.conv1d.weight:0", skips=("backbone.layers.[12]",))  # fmt: skip
def mamba() -> Made:
    """A selective state space."""
    options = {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4, "vocab_size": 100, "use_cache": False}
    return hugging("MambaConfig", "MambaForCausalLM", {"input_ids": words(6)}, **options, **NO_MARKS)


BOTH = {"input_ids": words(10), "decoder_input_ids": words(7)}
SIDES = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "use_cache": False,
}  # fmt: skip


@packages(6, "*.DenseReluDense.wi.weight:0", "*.SelfAttention.q.weight:0",
          "decoder.block.*.EncDecAttention.k.weight:0", skips=("encoder.block.[12]", "decoder.block.[12]"),
          rigid={"shared": "*"})  # fmt: skip
def t5() -> Made:
    """Relative positions in the first block, tuples between blocks; the encoder's states are an output too."""
    options = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 3, "num_heads": 4, "vocab_size": 100}
    return hugging("T5Config", "T5ForConditionalGeneration", BOTH, **options, use_cache=False)


@packages(8, "*.shared.weight:1", "*.layers.*.fc1.weight:0", "*.layers.*.self_attn.q_proj.weight:0",
          "*.layers.*.encoder_attn.k_proj.weight:0",
          skips=("net.model.encoder.layers.1", "net.model.decoder.layers.1"))  # fmt: skip
def bart() -> Made:
    return only(hugging("BartConfig", "BartForConditionalGeneration", BOTH, **SIDES, **TEXT), "logits")


@packages(8, "*.shared.weight:1", "*.layers.*.fc1.weight:0", "*.layers.*.self_attn.q_proj.weight:0",
          skips=("net.model.encoder.layers.1", "net.model.decoder.layers.1"))  # fmt: skip
def marian() -> Made:
    options = {**SIDES, **TEXT, "pad_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 0}
    return only(hugging("MarianConfig", "MarianMTModel", BOTH, **options), "logits")


@packages(8, "model.encoder.conv1.weight:0", "model.decoder.embed_tokens.weight:1", "model.*.layers.*.fc1.weight:0",
          "model.*.layers.*.self_attn.q_proj.weight:0",
          skips=("model.encoder.layers.1", "model.decoder.layers.1"))  # fmt: skip
def whisper() -> Made:
    """Sound in, words out."""
    options = {**SIDES, "vocab_size": 100, "num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 16,
               "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}  # fmt: skip
    inputs = {"input_features": torch.randn(2, 16, 40), "decoder_input_ids": words(7)}
    return hugging("WhisperConfig", "WhisperForConditionalGeneration", inputs, **options)


@packages(6, "wav2vec2.encoder.layers.*.feed_forward.intermediate_dense.weight:0",
          "wav2vec2.encoder.layers.*.attention.q_proj.weight:0",
          "wav2vec2.feature_extractor.conv_layers.1.conv.weight:0", "lm_head.weight:1",
          skips=("wav2vec2.encoder.layers.[12]",))  # fmt: skip
def wav2vec2() -> Made:
    """A waveform; convolutions with normalisation, grouped positional convolution with a normed weight."""
    options = {**SMALL, "conv_dim": (32, 32), "conv_stride": (5, 2), "conv_kernel": (10, 3), "conv_bias": False,
               "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
               "feat_extract_norm": "layer", "vocab_size": 32, "mask_time_prob": 0.0}  # fmt: skip
    return hugging("Wav2Vec2Config", "Wav2Vec2ForCTC", {"input_values": torch.randn(2, 400)}, **options)


PICTURES = {"pixel_values": torch.randn(2, 3, 32, 32)}
PATCHES = {**SMALL, "image_size": 32, "patch_size": 8}


@packages(8, "vit.embeddings.patch_embeddings.projection.weight:0", "classifier.weight:1", "*.mlp.fc1.weight:0",
          "*.attention.q_proj.weight:0", skips=("vit.layers.[12]",))  # fmt: skip
def hf_vit() -> Made:
    return hugging("ViTConfig", "ViTForImageClassification", PICTURES, **PATCHES)


@packages(8, "deit.embeddings.patch_embeddings.projection.weight:0", "*.mlp.fc1.weight:0")
def deit() -> Made:
    return hugging("DeiTConfig", "DeiTForImageClassification", PICTURES, **PATCHES)


@packages(6, "swin.embeddings.patch_embeddings.projection.weight:0", "*.q_proj.weight:0", "*.fc1.weight:0",
          onnx="torch.export takes its reshape of a transposed tensor for a view")  # fmt: skip
def hf_swin() -> Made:
    options = {"image_size": 32, "patch_size": 2, "embed_dim": 24, "depths": [2, 2], "num_heads": [3, 6],
               "window_size": 4}  # fmt: skip
    return hugging("SwinConfig", "SwinForImageClassification", PICTURES, **options)


@packages(14, "decode_head.classifier.weight:1", "segformer.stages.*.patch_embeddings.proj.weight:0",
          "*.sequence_reduction.sequence_reduction.weight:[01]", "*.mlp.fc1.weight:0",
          skips=("segformer.stages.0.blocks.1", "segformer.stages.1.blocks.1"))  # fmt: skip
def segformer() -> Made:
    """A pyramid of attention with fewer keys, and a decoder that joins its levels."""
    options = {"num_encoder_blocks": 2, "depths": [2, 2], "sr_ratios": [4, 2], "hidden_sizes": [32, 64],
               "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
               "decoder_hidden_size": 48, "num_labels": 3}  # fmt: skip
    return hugging("SegformerConfig", "SegformerForSemanticSegmentation", PICTURES, **options)


@packages(12, "*.layers.*.mlp.fc1.weight:0", "*.layers.*.self_attn.q_proj.weight:0", "*.token_embedding.weight:1",
          "*.text_projection.weight:0", "*.visual_projection.weight:0",
          skips=("net.text_model.encoder.layers.1", "net.vision_model.encoder.layers.1"))  # fmt: skip
def clip() -> Made:
    """Two towers that meet in a product."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**tower, **TEXT, "eos_token_id": 99, "bos_token_id": 0, "pad_token_id": 1}
    sight = {**tower, "image_size": 32, "patch_size": 8}
    inputs = {"input_ids": words(), "attention_mask": torch.ones(2, 12, dtype=torch.long), **PICTURES}
    made = hugging("CLIPConfig", "CLIPModel", inputs, text_config=text, vision_config=sight, projection_dim=32)
    return only(made, "logits_per_image", "logits_per_text")


@packages(14, "*.vision_tower.embeddings.patch_embedding.weight:0", "*.vision_tower.*.layers.[01].mlp.fc1.weight:0",
          "*.vision_tower.*.layers.[01].self_attn.q_proj.weight:0", "*.multi_modal_projector.linear_1.weight:0",
          "*.embed_tokens.weight:1", "*.language_model.layers.*.self_attn.[kq]_proj.weight:0",
          "*.language_model.layers.*.mlp.gate_proj.weight:0", "net.lm_head.weight:1",
          skips=("net.model.language_model.layers.[12]",))  # fmt: skip
def llava() -> Made:
    """A picture's patches among the words; the tower's last layer runs for nobody."""
    sight = {**PATCHES, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 32}
    text = {**SMALL, **NO_MARKS, "vocab_size": 100, "max_position_embeddings": 64, "num_key_value_heads": 2}
    patches = torch.full((2, 16), 99)
    inputs = {"input_ids": torch.cat([words(3, size=90), patches, words(5, size=90)], 1), **PICTURES}
    made = hugging(
        "LlavaConfig", "LlavaForConditionalGeneration", inputs, image_token_index=99, image_seq_length=16,
        vision_config={**sight, "model_type": "clip_vision_model"}, text_config={**text, "model_type": "llama"},
    )  # fmt: skip
    return only(made, "logits")


@packages(40, "*.resnets.*.conv1.weight:0", "*.to_q.weight:0", "*.ff.net.0.proj.weight:0", "*.proj_in.weight:0",
          "*.time_embedding.linear_1.weight:0",
          skips=("unet.down_blocks.0.attentions.*", "unet.mid_block.attentions.0", "unet.mid_block.resnets.1",
                 "unet.up_blocks.1.attentions.[12]"),
          rigid={"unet.conv_in": "*tied to one another*"})  # fmt: skip
def stable_diffusion() -> Made:
    """The U-Net of Stable Diffusion (diffusers): lists of residual and attention blocks that run in turn."""
    torchvision()
    library = importlib.import_module("diffusers")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = library.UNet2DConditionModel(
                sample_size=8, layers_per_block=2, block_out_channels=(32, 64), cross_attention_dim=32,
                attention_head_dim=8, norm_num_groups=8, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            )  # fmt: skip

        def forward(self, sample: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
            return self.unet(sample, timestep, states, return_dict=False)[0]

    inputs = {"sample": torch.randn(2, 4, 8, 8), "timestep": torch.tensor([3, 500]), "states": torch.randn(2, 6, 32)}
    return Net(), inputs

#!/usr/bin/python3
"""interop.py - `weft import` and `weft export` against the real programs: both ways, strictly loaded, results compared.

Never run by the tests: it needs checkouts of other projects, which are not part of this one.  By hand, on Debian 13:
    apt-get install python3-torch python3-safetensors python3-einops python3-tqdm python3-regex python3-filelock \\
        python3-requests python3-httpx python3-typer python3-yaml python3-pandas python3-plotly python3-nltk \\
        python3-tenacity python3-dotenv python3-rich
    tests/golden/interop.py --weft=build/weft --transformers=DIR --hub=DIR [--cocomix=DIR] [--openai=DIR] [--saelens=DIR]
        [--lens=DIR] [--teacher=RUN --sae=RUN --student=RUN --tokens=FILE]
Each DIR is what goes on Python's path: transformers/src, huggingface_hub/src, RAM/projects/cocomix, sparse_autoencoder,
SAELens and TransformerLens (for SAELens and CoCoMix, whose package imports it; of versions that fit each other).  Packages that Debian
has not and the code at hand does not really use (tokenizers, jaxtyping, datasets, ...) are stood in for by empty modules.
RUNs are runs of `weft train` of gpt2.txtpb, sae.txtpb and cocomix.txtpb, FILE their 16-bit tokens.  Without them only
random weights are tried, which go there, here, and there again.  Exit code 1 if anything differs.
"""
import argparse
import importlib.abc
import importlib.machinery
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.normpath(os.path.join(HERE, "../../models"))
CONVERT = os.path.normpath(os.path.join(HERE, "../../tools/convert-pt"))
STUBS = {"tokenizers", "jaxtyping", "fancy_einsum", "better_abc", "beartype", "datasets", "wandb", "blobfile", "triton",
         "simple_parsing", "babe", "plotly_express", "sentencepiece", "neuron_explainer"}
# Largest absolute difference, as a part of the largest value: float32 summed in another order through a few layers.
TOLERANCE = 2e-5
failures = 0


# --- packages that are not there --------------------------------------------------------------------------------------

class Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, key):  # Float[Tensor, "batch d"]
        return cls

    def __call__(cls, *args, **kwargs):  # a decorator gives back what it decorates
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else cls


class Nothing(metaclass=Anything):
    pass


class Stub(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in STUBS else None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        module.__path__ = []


def prepare(args):
    """Puts the checkouts on the path and answers for the versions of what is not installed as a package."""
    sys.path[:0] = [p for p in (args.transformers, args.hub, args.cocomix, args.openai, args.saelens, args.lens) if p]
    sys.meta_path.append(Finder())  # last: what is installed is taken
    with open(os.path.join(args.hub, "huggingface_hub/__init__.py")) as f:
        versions = {"huggingface-hub": re.search('__version__ = "(.*)"', f.read())[1], "regex": "2026.1.1"}
    with open(os.path.join(args.transformers, "transformers/dependency_versions_table.py")) as f:
        versions["tokenizers"] = re.search("tokenizers>=([0-9.]*)", f.read())[1]
    installed = importlib.metadata.version
    importlib.metadata.version = lambda name: versions.get(name.replace("_", "-")) or installed(name)


# --- Weft -------------------------------------------------------------------------------------------------------------

def weft(*words):
    done = subprocess.run([args.weft, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"weft {' '.join(words)}\nexit {done.returncode}\n{done.stderr}")
    return done.stdout


def weft_import(source, names, out, *more):
    """Imports and gives back the --set words that it prints."""
    text = weft("import", source, f"--names={names}", f"--out={out}", *more)
    line = next((x for x in text.splitlines() if "--set " in x), "")
    return re.findall(r"--set (\S+)", line)


def weft_run(model, weights, sets, inputs, fetch):
    for name, value in inputs.items():
        save_file({name: value.contiguous()}, f"in-{name}.safetensors")
    weft("run", model, f"--weights={weights}", "--output=out.safetensors", "--show=0", "--threads=1",
         *[f"--set={s}" for s in sets], *[f"--input={k}=in-{k}.safetensors" for k in inputs], *[f"--fetch={f}" for f in fetch])
    return load_file("out.safetensors")


def compare(what, ours, theirs):
    global failures
    ours, theirs = ours.float(), theirs.detach().float()
    same_shape = ours.shape == theirs.shape
    difference = (ours - theirs).abs().max().item() if same_shape else float("nan")
    scale = theirs.abs().max().item()
    good = same_shape and difference <= TOLERANCE * scale
    failures += not good
    print(f"  {what:34s} {difference:9.2e} of {scale:8.4g}  {'ok' if good else f'DIFFERS {list(ours.shape)} {list(theirs.shape)}'}")


def check(what, good, detail=""):
    global failures
    failures += not good
    print(f"  {what:56s} {'ok' if good else f'FAILS: {detail}'}")


def randomise(module, seed, std=0.2):
    """Weights large enough, with biases and norms, that every one of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * std + (1 if "ln_" in name and name.endswith("weight") else 0))
    return module.eval()


def draw_tokens(vocab, batch=3, length=16):
    tokens = torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(5))
    return tokens, shifted(tokens)


def shifted(tokens):  # their loss leaves out the last position; -1 is what ours ignores
    targets = torch.full_like(tokens, -1)
    targets[:, :-1] = tokens[:, 1:]
    return targets


def read_tokens(length, batch=3):
    raw = torch.from_file(args.tokens, dtype=torch.int16, size=batch * length).long() & 0xffff
    tokens = raw.view(batch, length)
    return tokens, shifted(tokens)


def run_sets(run):
    """The parameters of a run's model, but for the batch."""
    last = sorted(os.listdir(f"{run}/checkpoints"))[-1]
    with open(f"{run}/checkpoints/{last}/config.json") as f:
        return [f"{k}={v}" for k, v in json.load(f)["parameters"].items() if k not in ("B", "T")]


def value(sets, name):
    return int(next(s.split("=")[1] for s in sets if s.startswith(name + "=")))


def shapes(tokens):
    return [f"B={tokens.shape[0]}", f"T={tokens.shape[1]}"]


def int_inputs(tokens, targets):
    return {"tokens": tokens.int(), "targets": targets.int()}


# --- GPT-2 ------------------------------------------------------------------------------------------------------------

GPT2 = dict(n_layer=2, n_head=2, n_embd=24, vocab_size=61, n_positions=20)


def gpt2_equals(title, model, weights, sets, tokens, targets, graph=None):
    out = weft_run(graph or f"{MODELS}/gpt2.txtpb", weights, sets + shapes(tokens), int_inputs(tokens, targets), ["logits", "loss"])
    with torch.no_grad():
        theirs = model(tokens, labels=tokens)
    compare(f"{title}: logits", out["logits"], theirs.logits)
    compare(f"{title}: loss", out["loss"], theirs.loss)


def goes_on(title, model, folder, tokens):
    """The folder as it is, without a model file or a setting, draws what the class draws."""
    start = tokens[:1, :5]
    theirs = model.generate(start, max_new_tokens=8, min_new_tokens=8, do_sample=False)[0, 5:].tolist()
    ours = weft("generate", folder, "--ids", "--prompt", " ".join(map(str, start[0].tolist())), "--tokens=8",
                "--temperature=0", "--to-end")
    check(f"{title}: greedy text of the folder", list(map(int, ours.split())) == theirs, (ours, theirs))


def strict(cls, folder, **more):
    model, info = cls.from_pretrained(folder, output_loading_info=True, **more)
    left = {k: sorted(map(str, v)) for k, v in info.items() if v}
    check(f"{os.path.basename(folder)}: {cls.__name__}.from_pretrained", not left, left)
    return model.eval()


def try_gpt2():
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, GPT2Model
    print("GPT2LMHeadModel of transformers", __import__("transformers").__version__)
    model = randomise(GPT2LMHeadModel(GPT2Config(**GPT2)), 1)
    tokens, targets = draw_tokens(GPT2["vocab_size"])
    graph = f"--check={MODELS}/gpt2.txtpb"
    model.save_pretrained("g1")
    gpt2_equals("there to here", model, "g1.st", weft_import("g1", "hf-gpt2", "g1.st", graph), tokens, targets)
    model.save_pretrained("g2", max_shard_size="20KB")
    gpt2_equals("shards", model, "g2.st", weft_import("g2", "hf-gpt2", "g2.st", graph), tokens, targets)
    for folder in "g1", "g2":
        goes_on(folder, model, folder, tokens)
    base = GPT2Model(model.config)
    base.load_state_dict(model.transformer.state_dict(), strict=True)
    base.save_pretrained("g3")
    gpt2_equals("GPT2Model, no prefix", model, "g3.st", weft_import("g3", "hf-gpt2", "g3.st", graph), tokens, targets)
    half = GPT2LMHeadModel.from_pretrained("g1").to(torch.bfloat16).eval()
    half.save_pretrained("g4")
    sets = weft_import("g4", "hf-gpt2", "g4.st", graph)
    gpt2_equals("bfloat16 there", half.float(), "g4.st", sets, tokens, targets)
    weft("export", "g1.st", "--names=hf-gpt2", "--out=h1", *[f"--set={s}" for s in sets])
    gpt2_equals("and there again", strict(GPT2LMHeadModel, "h1"), "g1.st", sets, tokens, targets)
    weft("export", "g1.st", "--names=hf-gpt2", "--out=h2", "--max-shard-size=20KB", *[f"--set={s}" for s in sets])
    gpt2_equals("and in shards", strict(AutoModelForCausalLM, "h2"), "g1.st", sets, tokens, targets)
    weft("export", "g4.st", "--names=hf-gpt2", "--out=h3", "--dtype=bf16", *[f"--set={s}" for s in sets])
    back = strict(AutoModelForCausalLM, "h3", torch_dtype="auto")
    check("h3: bfloat16 as config.json says", back.dtype == torch.bfloat16, back.dtype)
    gpt2_equals("and in bfloat16", back.float(), "g4.st", sets, tokens, targets)
    if args.teacher:
        sets = run_sets(args.teacher)
        tokens, targets = read_tokens(value(sets, "ctx"))
        weft("export", args.teacher, "--names=hf-gpt2", "--out=teacher")
        gpt2_equals("trained", strict(AutoModelForCausalLM, "teacher"), args.teacher, sets, tokens, targets,
                    f"{args.teacher}/model.txtpb")
        last = sorted(os.listdir(f"{args.teacher}/checkpoints"))[-1]
        strict(AutoModelForCausalLM, f"{args.teacher}/checkpoints/{last}")


# --- CoCoMix ----------------------------------------------------------------------------------------------------------

STUDENT = """import: "models/cocomix.txtpb"
main: "student"
module {
  name: "student"                      # cocomix.txtpb without its teacher
  param: "n_layer" param: "n_head" param: "d" param: "vocab" param: "ctx" param: "dropout=0" param: "insert"
  param: "n_concept" param: "k" param: "mix=1" param: "slot=1"
  param: "plain_head=0" param: "B" param: "T"
  input { name: "tokens"  type: "i32[B,T]" }
  input { name: "targets" type: "i32[B,T]" }
  node { call: "cocomix_student" name: "transformer" in: ["tokens", "targets"] out: ["lm_loss", "logits", "concept_logits", "concept"] }
  output: ["lm_loss", "logits", "concept_logits"]
}
"""


def cocomix_equals(title, model, weights, sets, tokens, targets):
    with open("student.txtpb", "w") as f:
        f.write(STUDENT)
    sets = [s for s in sets if not re.match("t_|k_label|label_|lambda_c|relu=", s)]
    out = weft_run("student.txtpb", weights, sets + shapes(tokens), int_inputs(tokens, targets),
                   ["logits", "concept_logits", "lm_loss"])
    with torch.no_grad():
        theirs, concepts = model(input_ids=tokens, labels=tokens, get_concept_logit=True)
    compare(f"{title}: logits", out["logits"], theirs.logits)
    compare(f"{title}: concept logits", out["concept_logits"], concepts)
    compare(f"{title}: loss", out["lm_loss"], theirs.loss)


def load_like_test_py(folder):
    """As the official test.py does it: sizes of the concepts from config.yaml beside the checkpoint or above it."""
    import yaml
    from models.modeling_gpt2_cocomix import GPT2CoCoMixLMHeadModel
    path = next(p for p in (f"{folder}/config.yaml", f"{folder}/../config.yaml") if os.path.exists(p))
    with open(path) as f:
        cfg = yaml.safe_load(f)
    return strict(GPT2CoCoMixLMHeadModel, folder, concept_dim=cfg["concept_dim"], insert_layer_idx=cfg["insert_layer_index"],
                  concept_num=cfg["concept_num"])


def try_cocomix():
    from models.modeling_gpt2_cocomix import GPT2CoCoMixLMHeadModel
    from transformers import GPT2Config
    print("GPT2CoCoMixLMHeadModel of the official code")
    config = GPT2Config(**dict(GPT2, n_layer=3))
    model = randomise(GPT2CoCoMixLMHeadModel(config, concept_dim=40, insert_layer_idx=1, concept_num=6), 2)
    tokens, targets = draw_tokens(GPT2["vocab_size"])
    model.save_pretrained("c1")
    sets = weft_import("c1", "cocomix", "c1.st")
    sets += [s for s in ("insert=1", "k=6") if s not in sets]
    cocomix_equals("there to here", model, "c1.st", sets, tokens, targets)
    weft("export", "c1.st", "--names=cocomix", "--out=c2", *[f"--set={s}" for s in sets])
    cocomix_equals("and there again", load_like_test_py("c2"), "c1.st", sets, tokens, targets)
    if args.student:
        sets = run_sets(args.student)
        tokens, targets = read_tokens(value(sets, "ctx"))
        weft("export", args.student, "--names=cocomix", "--out=student")
        cocomix_equals("trained", load_like_test_py("student"), args.student, sets, tokens, targets)


def official_extractor(gpt2, autoencoder, blocks):
    """TransformerLensSAE with a teacher and autoencoder of ours instead of downloaded ones."""
    import transformer_lens
    from models.concept_extractor import TransformerLensSAE
    from transformer_lens.pretrained.weight_conversions.gpt2 import convert_gpt2_weights
    c = gpt2.config
    cfg = transformer_lens.HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, d_head=c.n_embd // c.n_head, n_heads=c.n_head,
        d_mlp=4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new", eps=c.layer_norm_epsilon, normalization_type="LN",
        original_architecture="GPT2LMHeadModel", device="cpu")
    lens = transformer_lens.HookedTransformer(cfg)
    lens.load_and_process_state_dict(convert_gpt2_weights(gpt2, cfg))  # folds norms and centres, as from_pretrained("gpt2")
    extractor = TransformerLensSAE.__new__(TransformerLensSAE)
    torch.nn.Module.__init__(extractor)
    extractor.base_model, extractor.autoencoder = lens.eval(), autoencoder
    extractor.transformer_lens_loc = f"blocks.{blocks - 1}.hook_resid_post"
    return extractor


def labels_equal(title, extractor, weights, sets, tokens, targets, k_label):
    out = weft_run(f"{MODELS}/concept.txtpb", weights, sets + shapes(tokens), int_inputs(tokens, targets), ["label", "score"])
    theirs = extractor(input_ids=tokens)
    compare(f"{title}: scores of labels", out["score"], theirs.gather(-1, out["label"].long()))
    best = theirs.topk(k_label, dim=-1)
    clear = best.values[..., -1] > 1e-6 * theirs.abs().max()  # else theirs takes latents that are not active, score 0
    same = (best.indices == out["label"]).all(-1)
    check(f"{title}: labels of {int(clear.sum())} rows of {clear.numel()} with enough", bool(same[clear].all()),
          f"{int((~same[clear]).sum())} rows differ")


def merge(target, **parts):
    save_file({f"{scope}.{name}": tensor for scope, path in parts.items() for name, tensor in load_file(path).items()}, target)


def try_labels():
    import models.sparse_autoencoder as official
    from transformers import GPT2Config, GPT2LMHeadModel
    print("TransformerLensSAE of the official code on TransformerLens")
    gpt2 = randomise(GPT2LMHeadModel(GPT2Config(**dict(GPT2, n_layer=3))), 3)
    gpt2.save_pretrained("l1")
    weft_import("l1", "hf-gpt2", "l1.st")
    sae = randomise(official.Autoencoder(40, GPT2["n_embd"], activation=official.model.TopK(12), normalize=True), 4)
    torch.save(sae.state_dict(), "l2.pt")
    convert("l2.pt", "l2.safetensors")
    weft_import("l2.safetensors", "openai-sae", "l2.st")
    merge("l.st", teacher="l1.st", sae="l2.st")
    sets = ["t_layer=3", "t_head=2", "t_d=24", "t_ctx=20", "t_tap=2", "vocab=61", "n_concept=40", "t_k=12", "k=12", "k_label=3"]
    tokens, targets = draw_tokens(GPT2["vocab_size"])
    labels_equal("random", official_extractor(gpt2, sae, 2), "l.st", sets, tokens, targets, 3)
    if args.student and args.teacher and args.sae:
        s = run_sets(args.student)
        known = "t_layer t_head t_d t_ctx t_tap vocab n_concept k t_k relu k_label label_score label_pre label_at".split()
        sets = [x for x in s if x.split("=")[0] in known]
        for kind, names in (("teacher", "hf-gpt2"), ("sae", "openai-sae")):
            weft("export", getattr(args, kind), f"--names={names}", f"--out=t-{kind}")
        convert("t-sae/model.safetensors", "t-sae.pt")
        weft_import("t-teacher", "hf-gpt2", "t-teacher.st")
        weft_import("t-sae", "openai-sae", "t-sae.st")
        merge("t.st", teacher="t-teacher.st", sae="t-sae.st")
        tokens, targets = read_tokens(value(s, "ctx"))
        sae = official.Autoencoder.from_state_dict(torch.load("t-sae.pt"))
        extractor = official_extractor(strict(GPT2LMHeadModel, "t-teacher"), sae, value(s, "t_tap"))
        labels_equal("trained", extractor, "t.st", sets, tokens, targets, value(s, "k_label"))


# --- autoencoders -----------------------------------------------------------------------------------------------------

PROBE = """import: "models/sae.txtpb"
main: "probe"
module {
  name: "probe"
  param: "d" param: "n_latent" param: "k=1" param: "eps=1e-5" param: "relu=0" param: "N"
  input { name: "x" type: "f32[N,d]" }
  node { call: "sae" in: "x" out: ["z", "pre", "rec", "decoder"] }
  output: ["z", "rec"]
}
"""


def sae_equals(title, encode, reconstruct, weights, sets, d):
    with open("probe.txtpb", "w") as f:
        f.write(PROBE)
    x = torch.randn(50, d, generator=torch.Generator().manual_seed(6)) * 3 + 1
    out = weft_run("probe.txtpb", weights, sets + ["N=50"], {"x": x}, ["z", "rec"])
    with torch.no_grad():
        compare(f"{title}: latents", out["z"], encode(x))
        compare(f"{title}: reconstruction", out["rec"], reconstruct(x))


def convert(source, target):
    done = subprocess.run([sys.executable, CONVERT, source, target], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"convert-pt {source} {target}\n{done.stdout}{done.stderr}")


def openai_equals(title, sae, weights, sets, d):
    sae_equals(title, lambda x: sae.encode(x)[0], lambda x: sae(x)[2], weights, sets, d)


def try_openai():
    from sparse_autoencoder.model import Autoencoder, TopK
    print("Autoencoder of openai/sparse_autoencoder")
    for kind, model in (("TopK", Autoencoder(40, 24, activation=TopK(5), normalize=True)), ("ReLU", Autoencoder(40, 24))):
        sae = randomise(model, 7)
        torch.save(sae.state_dict(), f"{kind}.pt")
        convert(f"{kind}.pt", f"{kind}.safetensors")
        sets = weft_import(f"{kind}.safetensors", "openai-sae", f"{kind}.st")
        openai_equals(f"{kind} there to here", sae, f"{kind}.st", sets, 24)
        weft("export", f"{kind}.st", "--names=openai-sae", f"--out={kind}", *[f"--set={s}" for s in sets])
        convert(f"{kind}/model.safetensors", f"{kind}-back.pt")
        openai_equals(f"{kind} and there again", Autoencoder.from_state_dict(torch.load(f"{kind}-back.pt")), f"{kind}.st", sets, 24)
    if args.sae:
        weft("export", args.sae, "--names=openai-sae", "--out=o")
        convert("o/model.safetensors", "o.pt")
        sets = weft_import("o", "openai-sae", "o.st")
        sae = Autoencoder.from_state_dict(torch.load("o.pt"))
        openai_equals("trained", sae, "o.st", sets, value(sets, "d"))


def saelens_equals(title, sae, weights, sets, d):
    sae_equals(title, sae.encode, sae, weights, sets, d)


def saelens_models():
    import sae_lens
    if int(sae_lens.__version__.split(".")[0]) < 6:
        common = dict(architecture="standard", d_in=24, d_sae=40, apply_b_dec_to_input=True, finetuning_scaling_factor=False,
                      context_size=16, model_name="gpt2-small", hook_name="blocks.1.hook_resid_post", hook_layer=1,
                      hook_head_index=None, prepend_bos=False, dataset_path="", dataset_trust_remote_code=False,
                      dtype="float32", device="cpu", sae_lens_training_version=None)
        yield "TopK", sae_lens.SAE.from_dict(dict(common, activation_fn_str="topk", activation_fn_kwargs={"k": 5},
                                                  normalize_activations="layer_norm")), 1
        yield "ReLU", sae_lens.SAE.from_dict(dict(common, activation_fn_str="relu", normalize_activations="none")), 1
        return
    from sae_lens.saes import StandardSAE, StandardSAEConfig, TopKSAE, TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    yield "TopK", TopKSAE(TopKSAEConfig(d_in=24, d_sae=40, k=5, normalize_activations="layer_norm")), 1
    yield "ReLU", StandardSAE(StandardSAEConfig(d_in=24, d_sae=40)), 1
    yield "TopK trained", TopKTrainingSAE(TopKTrainingSAEConfig(d_in=24, d_sae=40, k=5, normalize_activations="layer_norm")), 0


def try_saelens():
    import sae_lens
    print("SAE of SAELens", sae_lens.__version__)
    for kind, model, plain in saelens_models():
        name, sae = kind.replace(" ", "-"), randomise(model, 8)
        if plain:
            sae.save_model(f"s-{name}")
        else:
            sae.save_inference_model(f"s-{name}")  # folds the norms of the decoder
            sae = sae_lens.SAE.load_from_disk(f"s-{name}")
        sets = weft_import(f"s-{name}", "saelens", f"s-{name}.st")
        saelens_equals(f"{kind} there to here", sae, f"s-{name}.st", sets, 24)
        if sae_lens.__version__.startswith("5."):
            continue  # does not read what 6.x and we write
        weft("export", f"s-{name}.st", "--names=saelens", f"--out=s2-{name}", *[f"--set={s}" for s in sets])
        back = sae_lens.SAE.load_from_disk(f"s2-{name}")
        saelens_equals(f"{kind} and there again", back, f"s-{name}.st", sets, 24)
    if args.sae and not sae_lens.__version__.startswith("5."):
        weft("export", args.sae, "--names=saelens", "--out=s3", "--field", "metadata.hook_name=blocks.1.hook_resid_post")
        sets = weft_import("s3", "saelens", "s3.st")
        saelens_equals("trained", sae_lens.SAE.load_from_disk("s3"), "s3.st", sets, value(sets, "d"))


# ----------------------------------------------------------------------------------------------------------------------

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for option in ("weft", "transformers", "hub"):
    parser.add_argument("--" + option, required=True, type=os.path.abspath)
for option in ("cocomix", "openai", "saelens", "lens", "teacher", "sae", "student", "tokens"):
    parser.add_argument("--" + option, type=os.path.abspath)
args = parser.parse_args()
prepare(args)
warnings.filterwarnings("ignore")

import torch  # noqa: E402 (after the path is set)
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)
    shutil.copytree(MODELS, "models")  # imports stay below the importing file
    print("PyTorch", torch.__version__)
    try_gpt2()
    if args.cocomix:
        try_cocomix()
        if args.lens:
            try_labels()
    if args.openai:
        try_openai()
    if args.saelens:
        try_saelens()
    os.chdir("/")
print("all equal" if not failures else f"{failures} differ")
sys.exit(failures > 0)

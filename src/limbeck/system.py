"""What `limbeck env` tells: versions, devices, folders, the lexicon."""

import os
from typing import Any

from limbeck.errors import UserError
from limbeck.files import cache_dir
from limbeck.lexicon.wordnet import find_wordnet
from limbeck.run import environment


def describe_system() -> dict[str, Any]:
    """Versions of the libraries, processor, GPUs, threads, the cache folder, where WordNet is if anywhere."""
    import torch

    try:
        wordnet = str(find_wordnet())
    except UserError as error:  # that it is missing is an answer here
        wordnet = f"not found: {error}"
    known = environment()
    versions = known.pop("versions")
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        **known,
        "threads": torch.get_num_threads(),
        "gpus": ", ".join(gpus) or "none",
        "cache": str(cache_dir()),
        "hub": "offline" if os.environ.get("HF_HUB_OFFLINE") == "1" else "online",
        "wordnet": wordnet,
        "versions": versions,
    }

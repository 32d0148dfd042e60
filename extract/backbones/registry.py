"""Backbones as a pipeline file names them; the discriminated union is the registry."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from cache_schema.common.custom import read_part
from extract.backbones.custom import CustomBackboneSpec
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.huggingface.dinov3 import Dinov3Spec
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.backbones.untrained import UntrainedSpec

KINDS = Dinov2Spec | Dinov3Spec | HuggingFaceSpec | UntrainedSpec | CustomBackboneSpec

BackboneSpec = Annotated[Annotated[KINDS, Field(discriminator="kind")], BeforeValidator(read_part)]

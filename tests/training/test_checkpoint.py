"""What a checkpoint says of itself is compared with what a command asks for."""

import pytest
from jsonargparse import Namespace

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.training.checkpoint import check_model


def test_another_network_is_named_by_all_that_differs() -> None:
    card = ModelCard("rtformer_slim", "gfa+ca", 11, {"cross_size": 4}, head="conv")
    asked = Namespace(name="rtformer_slim", attention="sa", options={}, head="conv", insert=None)
    with pytest.raises(UserError, match=r"model.attention=sa differs from the checkpoint's gfa") as error:
        check_model(asked, {"model_card": card.to_dict()})
    assert "set --model.attention=gfa+ca" in str(error.value)
    other = Namespace(name="rtformer_slim", attention="gfa+ca", options={"base_channels": 8}, head=None, insert=None)
    with pytest.raises(UserError, match=r"model.head=.* differs .*; model.options=.*base_channels.* differs"):
        check_model(other, {"model_card": card.to_dict()})

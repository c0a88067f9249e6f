from rtseg.attention import list_attentions as list_attentions
from rtseg.data import list_datasets as list_datasets
from rtseg.deploy.predictor import load as load
from rtseg.models import create_model as create_model
from rtseg.models import list_heads as list_heads
from rtseg.models import list_models as list_models
from rtseg.plugins import load_plugin as load_plugin

__version__: str

"""What pyproject.toml cannot say: configs/ stands beside the package here and is a part of it where it is installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rtseg*", "pretrain*"]), "rtseg.shipped_configs"],
    package_dir={"rtseg.shipped_configs": "configs"},
)

"""``slatestream table freeze``: what a policy learned of ids, as a feature for the others."""

from __future__ import annotations

from typing import Annotated

import typer

from api.commands.output import print_json, say
from api.commands.state import ConfigOption, DataDirOption, JsonOption, open_existing, use_settings

__all__ = ["freeze"]


def freeze(
    policy: Annotated[str, typer.Argument(help="Whose model keeps vectors of ids.")],
    ids: Annotated[str, typer.Argument(help="The ids' name: user_id, item_id, or a feature's.")],
    name: Annotated[str, typer.Argument(help="Of the feature that will read the vectors.")],
    *,
    version: Annotated[
        str, typer.Option(help="Names these vectors; their content does when it is not given.")
    ] = "",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Save a policy's vectors of ids under vectors/NAME/VERSION, as of its last commit.

    The learner goes on meanwhile, and the saved vectors stay as they are. Prints the feature that
    reads them.
    """
    settings = use_settings(config, data_dir)
    from streams.config import EngineConfig  # noqa: PLC0415  (loads numba)
    from streams.freezing import freeze_policy, source_of  # noqa: PLC0415
    from streams.vector_files import save_vectors  # noqa: PLC0415

    store = open_existing(settings)
    try:
        frozen = freeze_policy(store, policy, ids, version)
    finally:
        store.close()
    folder = save_vectors(settings.data_dir, name, frozen)
    of = source_of(EngineConfig.from_dict(settings.engine_settings()), policy, ids)
    if json:
        print_json(
            {
                "folder": str(folder),
                "version": frozen.version,
                "vectors": len(frozen),
                "count": frozen.count,
            }
        )
        return
    say(f"{len(frozen):,} vectors of {frozen.count} numbers in {folder}; read them by the feature")
    typer.echo(
        f'{{ type = "vector", name = "{name}", of = "{of}", id = "{ids}", '
        f'count = {frozen.count}, version = "{frozen.version}" }}'
    )

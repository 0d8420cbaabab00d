# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.platform.gfile import (
    Copy as Copy, DeleteRecursively as DeleteRecursively, Exists as Exists, FastGFile as FastGFile, GFile as GFile,
    Glob as Glob, IsDirectory as IsDirectory, ListDirectory as ListDirectory, MakeDirs as MakeDirs, MkDir as MkDir,
    Open as Open, Remove as Remove, Rename as Rename, Stat as Stat, Walk as Walk, copy as copy, exists as exists,
    glob as glob, isdir as isdir, listdir as listdir, makedirs as makedirs, mkdir as mkdir, remove as remove,
    rename as rename, rmtree as rmtree, stat as stat, walk as walk,
)

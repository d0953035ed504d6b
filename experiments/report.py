"""
Put the numbers of results/*.csv into README.md and results/README.md, and draw
the pictures of results/.

    python -m experiments.report            # pages, and pictures that are old
    python -m experiments.report curves     # this picture; all: every one
    python -m experiments.report --check    # status 1 if one of them is old

A room of experiments/ offers one or both of

    tables()      {mark: text}: what is between <!-- mark --> and <!-- /mark -->
    pictures()    {file name: draw}: draw() returns the bytes of results/NAME

The text is markdown, a paragraph or an item of a list in one line. A room that
lacks runs raises markdown.Missing: what is on the pages then stays as it is. A
picture holds the SHA-256 of the CSV files that it was drawn from: it is old once
they change. Pictures of nets trained on the spot are drawn when they are named.
"""
import os
import re
import textwrap
from itertools import zip_longest

import torch
from PIL import Image

from experiments import architecture, claims, ladder, paper, reading, samples, speed, trials
from experiments.markdown import ROOT, Missing, results
from experiments.posterior import answer
from experiments.style import signed
from support import cli, files
from support.cli import fail

PAGES = 'README.md', 'NOTES.md', os.path.join('results', 'README.md')
ROOMS = paper, samples, answer, claims, ladder, trials, speed, reading, architecture


def complete():
    """({mark: text}, {file name: draw} of the rooms that have all their runs, [what the others lack])."""
    texts, drawings, lacking = {}, {}, []
    for room in ROOMS:
        try:
            texts |= getattr(room, 'tables', dict)()
        except Missing as e:
            lacking.append(str(e))
        else:
            drawings |= getattr(room, 'pictures', dict)()
    return texts, drawings, lacking


def filled(page, texts):
    """A page with the texts between its marks. A mark may begin an item of a list: `- <!-- mark -->`."""
    def between(match):
        opening, item, mark, closing = match.groups()
        if mark not in texts:           # its room lacks runs
            return match.group()
        indent = '  ' if item else ''
        lines = [line if line.startswith('|') else                       # those of a table as they are
                 textwrap.fill(line, 120, initial_indent=indent, break_long_words=False, break_on_hyphens=False,
                               subsequent_indent=indent + '  ' * line.startswith('- '))
                 for line in texts[mark].split('\n')]
        return opening + '\n'.join([*lines, closing])
    return re.sub(r'^((- )?<!-- (\w+) -->\n).*?^( *<!-- /\3 -->)$', between, page, flags=re.S | re.M)


def old(name):
    """Whether a picture is missing, or one of its CSV files has changed since it was drawn."""
    try:
        with Image.open(results(name)) as image:
            sources = image.info.get('Source', '').splitlines()
    except OSError:
        return True
    return any(line != signed(line.split()[0]) for line in sources)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('pictures', nargs='*', metavar='PICTURE', help='draw these; pages and others are left alone')
    parser.add_argument('--check', action='store_true', help='write nothing; status 1 if a page or a picture is old')
    args = parser.parse_args()
    every = {name: draw for room in ROOMS for name, draw in getattr(room, 'pictures', dict)().items()}
    chosen = list(every) if 'all' in args.pictures else [f'{name.removesuffix(".png")}.png' for name in args.pictures]
    for name in chosen:
        if name not in every:
            parser.error(f'there is no picture {name}; there are {", ".join(every)}')
    if not args.pictures:
        texts, drawings, lacking = complete()
        if lacking:
            cli.warn(f'what is made of these stays as it is, as results/*.csv lack them: {"; ".join(lacking)}')
        write_pages(texts, args.check)
        chosen = [name for name in drawings if old(name)]
    if args.check:
        if chosen:
            fail(f'older than their CSV files: {", ".join(chosen)}; run: python -m experiments.report')
        return
    files.writable(results(''))
    torch.set_num_threads(1)            # two are slower on a net of this size
    for name in cli.progress(chosen, unit='picture'):
        try:
            files.write_file(results(name), every[name]())
        except Missing as e:
            cli.warn(f'{name} is not drawn: results/*.csv lack {e}')
            continue
        print(os.path.join('results', name), flush=True)


def write_pages(texts, check):
    """Write the pages that change; with check, end with status 1 if there is one."""
    pages = {}
    for page in PAGES:
        before = files.read_file(os.path.join(ROOT, page), '`git checkout` brings it back').decode()
        marks = re.findall(r'<!-- (/?\w+) -->', before)
        for opening, closing in zip_longest(marks[::2], marks[1::2]):
            if closing != f'/{opening}':
                fail(f'{page}: <!-- {opening} --> is not followed by <!-- /{opening} -->; nothing is written')
        after = filled(before, texts)
        if after != before:
            pages[page] = after
    if check and pages:
        fail(f'{" and ".join(pages)} differ from results/*.csv; run: python -m experiments.report')
    for page, text in pages.items():
        files.write_file(os.path.join(ROOT, page), text.encode())
    print(f'written: {", ".join(pages)}' if pages else 'the pages have the numbers of results/*.csv')


if __name__ == '__main__':
    cli.run(main)

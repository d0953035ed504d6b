"""
What was done in 1989? The settings that the paper leaves open, inferred from
the eight results that it gives of its two nets.

    python -m experiments.posterior                  # the answer
    python -m experiments.posterior --draws 0-1023   # train these draws first
    python -m experiments.posterior --near 1024-9999 # those not ruled out yet
    python -m experiments.posterior.fit              # the recipe `paper`

Draws that are in the file are not trained again.
"""
import os

from experiments.markdown import Missing
from experiments.posterior import answer, draws, inference
from support import cli, runs


def main():
    parser = cli.parser(__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--draws', type=cli.numbers, metavar='A-B', help='train these draws from the prior')
    what.add_argument('--near', type=cli.numbers, metavar='A-B',
                      help=f'train those of them that the first {inference.FIRST:,} draws do not rule out')
    runs.add_arguments(parser, os.path.join('results', 'posterior.csv'))
    args = parser.parse_args()
    if args.draws or args.near:
        draws.load('usps')              # ends here if it is not there
        draws.simulate(args.draws or near(args.near, args.out), args.out, args.jobs, args.cluster)
        return
    try:
        print('\n\n'.join(answer.tables().values()))
    except Missing as e:
        cli.fail(f'results/ lacks {e}; {draws.REMEDY}')


def near(numbers, path):
    """Those of the draws that the first wave, in the file at path, does not rule out."""
    first = [row for row in draws.read(path) if row['draw'] < inference.FIRST]
    if len(first) < inference.FIRST:
        cli.fail(f'{path} has {len(first)} of the draws that tell what is near; {draws.REMEDY}')
    emulator = inference.Emulator(first)
    left = emulator.left(*emulator(inference.columns(draws.settings(numbers))))
    return [number for number, is_left in zip(numbers, left) if is_left]


if __name__ == '__main__':
    cli.run(main)

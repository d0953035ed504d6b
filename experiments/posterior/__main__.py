"""
What was done in 1989? The settings that the paper leaves open, inferred from
the eight results that it gives of its two nets.

    python -m experiments.posterior                  # the answer
    python -m experiments.posterior --draws 0-1023   # train these draws first
    python -m experiments.posterior --near 1024-3858 # those not ruled out yet
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
    if not (args.draws or args.near):
        try:
            print('\n\n'.join(answer.tables().values()))
        except Missing as e:
            cli.fail(f'results/ lacks {e}; {draws.REMEDY}')
        return
    draws.load('usps')                  # ends here if it is not there
    rows = draws.read(args.out, unfinished=True) if os.path.exists(args.out) else []     # of the same prior
    jobs = draws.settings(args.draws or args.near)
    if args.near:
        first = [row for row in rows if row['draw'] < inference.FIRST]
        if len(first) < inference.FIRST:
            cli.fail(f'{args.out} has {len(first)} of the draws that tell what is near; {draws.REMEDY}')
        emulator = inference.Emulator(first)
        jobs = [job for job, left in zip(jobs, emulator.left(*emulator(inference.columns(jobs)))) if left]
    runs.run_all(draws.one_run, jobs, args.out, draws.KEY, draws.VALUES, draws.WORDS, threads=True, workers=args.jobs,
                 cluster=args.cluster)


if __name__ == '__main__':
    cli.run(main)

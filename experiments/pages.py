"""What predict.py has on the pages. It goes to its room."""
from experiments import pictures
from experiments.markdown import Missing, pm, results, table
from support import runs


def pictures_table():
    """How well predict.py reads, from results/predict.csv."""
    what = {'own': 'its own test digits', 'other': "the other set's test digits", 'photograph': 'those, as photographs',
            'fonts': 'digits of 20 fonts'}
    read, rows = pictures.read(results('predict.csv')), []
    for dataset in ('mnist', 'usps'):
        for kind, label in what.items():
            found = [row for row in read if (row['dataset'], row['pictures']) == (dataset, kind)]
            if not found:
                raise Missing(f'{kind} pictures of {dataset}')
            rows.append([dataset, label, found[0]['n']] + [pm(runs.mean_sd([row[key] for row in found])[:2], 1)
                                                           for key in ('error', 'rejected', 'error_kept')])
    return table(['trained on', 'pictures', 'n', 'wrong, %', 'rejected, %', 'wrong of those accepted, %'], rows)


BLOCKS = {'pictures': pictures_table}

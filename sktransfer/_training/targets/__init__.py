"""What is predicted: the only folder that looks at y.

In comes y as users pass it; out go arrays to train on, and predictions from outputs.
A target has `kind`, `n_outputs`, `metric_name`; `learnt`, `encode`, `weights_of` and `check`;
`keras_loss`, `keras_metric`, `losses`, `loss_of_error` and `score`; `n_held_out`, `split` and
`folds`; `choose_strength` and `linear_model`, of a linear head; `predictions`, and `in_keras`,
what a Keras model makes of outputs: probabilities, or numbers. Those of a classifier have
`classes`, `names`, `decision` and `probabilities` besides. To add a kind of target, write a
class like `Classes`.
"""
